//! `[[feed]]`: where market data comes from.

use super::{check_symbol, in_range, parsed};
use crate::ingest::connect::{Address, Endpoint};
use jiff::civil::Date;
use market::protocol::Subscription;
use market::{Timeframe, Venue, decimal};
use serde::{Deserialize, Deserializer, de};
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// The most symbols of one feed, whatever the venue.
const MAX_SYMBOLS: usize = 128;

/// `[[feed]]`: what comes from a venue over one connection, or over two that stand in for each other.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// The venue.
    #[serde(deserialize_with = "parsed")]
    pub venue: Venue,
    /// Its symbols, as it spells them.
    #[serde(deserialize_with = "symbols")]
    pub symbols: Vec<String>,
    /// Another endpoint with the same protocol.
    #[serde(default)]
    pub url: Option<String>,
    /// Another place of the REST interface. With a `url` and without this, nothing is asked for by REST.
    #[serde(default)]
    pub rest_url: Option<String>,
    /// Certificates to trust instead of the system's, as PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Decimal places of the prices; those that the venue tells without it.
    #[serde(default, deserialize_with = "digits")]
    pub price_digits: Option<u8>,
    /// Decimal places of the quantities; those that the venue tells without it.
    #[serde(default, deserialize_with = "digits")]
    pub quantity_digits: Option<u8>,
    /// How many connections carry the same streams: with two, one that is lost leaves no gap.
    #[serde(default = "one", deserialize_with = "connections")]
    pub connections: u8,
    /// The age in seconds at which a connection is replaced; an hour before the venue ends it without this.
    #[serde(default, deserialize_with = "reconnect_after_s")]
    pub reconnect_after_s: Option<u32>,
    /// The B line of a feed by MoldUDP64.
    #[serde(default)]
    pub second_url: Option<String>,
    /// Where messages that neither line has brought are asked for, as address and port.
    #[serde(default)]
    pub requests: Option<String>,
    /// The address of the interface on which multicast groups are joined; the kernel chooses one without it.
    #[serde(default)]
    pub interface: Option<Ipv4Addr>,
    /// Who logs in by SoupBinTCP.
    #[serde(default)]
    pub username: Option<String>,
    /// With which password.
    #[serde(default)]
    pub password: Option<String>,
    /// To which session; the one under way without it.
    #[serde(default)]
    pub session: Option<String>,
    /// Whether a session is taken from its first message on. Without it SoupBinTCP does so, MoldUDP64 does not.
    #[serde(default)]
    pub from_start: Option<bool>,
    /// The day of the times, for replays; today in New York without it.
    #[serde(default, deserialize_with = "date")]
    pub date: Option<Date>,
}

impl Feed {
    /// Where its streams come from, with the venue's own candles of these lengths.
    pub(crate) fn endpoint(&self, klines: &[Timeframe]) -> Result<Endpoint, String> {
        if self.venue == Venue::Itch {
            return self.itch_endpoint();
        }
        let protocol = self.venue.protocol();
        let url = self.url.as_deref().unwrap_or(protocol.websocket_url());
        let wanted = Subscription { symbols: &self.symbols, klines };
        Endpoint::new(url, protocol, &wanted).map_err(|reason| format!("url: {reason}"))
    }

    /// Where its REST interface is, if it is to be used.
    pub(crate) fn rest(&self) -> Result<Option<Address>, String> {
        if self.venue == Venue::Itch {
            return Ok(None);
        }
        let url = match (&self.rest_url, &self.url) {
            (Some(url), _) => url.as_str(),
            (None, None) => self.venue.protocol().rest_url(),
            (None, Some(_)) => return Ok(None),
        };
        Address::parse(url, ["http", "https"]).map(Some).map_err(|reason| format!("rest_url: {reason}"))
    }

    /// What no single line can tell.
    pub(super) fn check(&self) -> Result<(), String> {
        self.check_itch()?;
        self.endpoint(&[])?;
        self.rest()?;
        let (venue, count) = (self.venue, self.symbols.len());
        let most = venue.protocol().limits().symbols_per_connection;
        if count > most {
            return Err(format!(
                "symbols: {venue} takes {most} symbols on a connection, not {count}; split the feed into several"
            ));
        }
        Ok(())
    }
}

fn one() -> u8 {
    1
}

fn symbols<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let symbols = Vec::<String>::deserialize(from)?;
    if symbols.is_empty() || symbols.len() > MAX_SYMBOLS {
        let count = symbols.len();
        return Err(de::Error::custom(format!("a feed has 1 to {MAX_SYMBOLS} symbols, not {count}")));
    }
    symbols.iter().try_for_each(|symbol| check_symbol(symbol)).map_err(de::Error::custom)?;
    Ok(symbols)
}

fn date<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Date>, D::Error> {
    let text = String::deserialize(from)?;
    let wrong = |_| de::Error::custom(format!("'{text}' is not a date, as 2026-11-24"));
    text.parse().map(Some).map_err(wrong)
}

fn digits<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u8>, D::Error> {
    in_range(from, "decimal places", 0, decimal::MAX_DIGITS.into()).map(|value| Some(value as u8))
}

fn connections<'de, D: Deserializer<'de>>(from: D) -> Result<u8, D::Error> {
    in_range(from, "connections", 1, 2).map(|value| value as u8)
}

fn reconnect_after_s<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    in_range(from, "reconnect_after_s", 1, 7 * 24 * 3_600).map(|value| Some(value as u32))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn outcome(lines: &str) -> Result<Config, String> {
        let text = format!(
            "[[feed]]\nvenue = \"binance\"\nsymbols = [\"A\"]\n{lines}\n[[chart]]\nsource = \"binance:A\"\n\
             timeframe = \"1m\"\n"
        );
        Config::parse(&text, "a test").map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (lines, words) in [
            ("url = \"http://x\"", &["url", "ws://"][..]),
            ("rest_url = \"ws://x\"", &["rest_url", "http://"]),
            ("rest_url = \"https://\"", &["rest_url", "host"]),
            ("connections = 0", &["line 4", "connections must be 1 to 2"]),
            ("connections = 3", &["line 4", "connections must be 1 to 2"]),
            ("reconnect_after_s = 0", &["line 4", "reconnect_after_s must be 1 to"]),
            ("price_digits = 19", &["line 4", "decimal places must be 0 to 18"]),
        ] {
            let error = outcome(lines).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{lines}: {error}");
        }
        let many: Vec<_> = (0..51).map(|at| format!("S{at}")).collect();
        let text = format!("[[feed]]\nvenue = \"binance\"\nsymbols = {many:?}\n");
        let chart = "[[chart]]\nsource = \"binance:S1\"\ntimeframe = \"1m\"\n";
        let error = Config::parse(&format!("{text}{chart}"), "a test").unwrap_err().to_string();
        assert!(error.contains("takes 50 symbols on a connection, not 51; split the feed"), "{error}");
    }

    #[test]
    fn rest_is_asked_only_where_it_belongs_to_the_streams() {
        let rest = |lines: &str| outcome(lines).unwrap().feeds[0].rest().unwrap().map(|at| at.to_string());
        assert_eq!(rest(""), Some("api.binance.com:443".into()));
        assert_eq!(rest("url = \"ws://127.0.0.1:1\""), None);
        assert_eq!(
            rest("url = \"ws://127.0.0.1:1\"\nrest_url = \"http://127.0.0.1:2/x\""),
            Some("127.0.0.1:2".into())
        );
        let feed = &outcome("connections = 2\nreconnect_after_s = 5\nprice_digits = 2").unwrap().feeds[0];
        assert_eq!((feed.connections, feed.reconnect_after_s, feed.price_digits), (2, Some(5), Some(2)));
    }
}
