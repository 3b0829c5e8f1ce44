//! A `[[feed]]` of ITCH: by MoldUDP64 (`url = "mold://…"`) or by SoupBinTCP (`url = "soup://…"`).

use super::Feed;
use crate::feeds::Day;
use crate::ingest::connect::{Address, Endpoint, Speech};
use crate::ingest::multicast::MoldPlan;
use crate::ingest::soup::SoupPlan;
use market::Venue;
use market::soupbintcp::Login;
use std::net::SocketAddr;

/// The longest symbol in a message.
const MAX_SYMBOL_BYTES: usize = 8;

impl Feed {
    /// The day of its times, where the venue tells the time of day only.
    pub(crate) fn day(&self) -> Option<Day> {
        (self.venue == Venue::Itch).then(|| self.date.map_or(Day::Today, Day::Of))
    }

    /// Whether whoever connects anew gets the session from its first message on.
    pub(crate) fn is_from_start(&self) -> bool {
        if self.venue != Venue::Itch {
            return false;
        }
        match self.itch_endpoint().map(|endpoint| endpoint.speech) {
            Ok(Speech::Mold(plan)) => plan.from_start,
            Ok(Speech::Soup(plan)) => plan.from_start,
            _ => false,
        }
    }

    /// How it comes, for people; `None` for what comes over WebSockets.
    pub fn transport(&self) -> Option<String> {
        let speech = match self.venue {
            Venue::Itch => self.itch_endpoint().ok()?.speech,
            _ => return None,
        };
        let how = match speech {
            Speech::WebSocket => return None,
            Speech::Mold(MoldPlan { lines, requests, from_start, .. }) => {
                let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
                let server = requests.map_or("not asked for again".into(), |at| format!("asked for at {at}"));
                let start = if from_start { ", from the session's start" } else { "" };
                format!("MoldUDP64 on {}{start}; what is missing is {server}", lines.join(" and "))
            }
            Speech::Soup(SoupPlan { from_start, .. }) => {
                let start = if from_start { "its start" } else { "now" };
                format!("SoupBinTCP at {}, the session from {start}", self.url.as_deref().unwrap_or_default())
            }
        };
        Some(self.date.map_or(how.clone(), |date| format!("{how}; as of {date}")))
    }

    /// The first key of those that only a feed of ITCH has.
    fn itch_key(&self) -> Option<&'static str> {
        let keys = [
            ("second_url", self.second_url.is_some()),
            ("requests", self.requests.is_some()),
            ("interface", self.interface.is_some()),
            ("username", self.username.is_some()),
            ("password", self.password.is_some()),
            ("session", self.session.is_some()),
            ("from_start", self.from_start.is_some()),
            ("date", self.date.is_some()),
        ];
        keys.into_iter().find_map(|(key, is_there)| is_there.then_some(key))
    }

    /// Checks that no key is there that means nothing.
    pub(super) fn check_itch(&self) -> Result<(), String> {
        if self.venue != Venue::Itch {
            let refuse = |key| Err(format!("{key}: only a feed of itch has this key"));
            return self.itch_key().map_or(Ok(()), refuse);
        }
        let foreign = [
            ("rest_url", self.rest_url.is_some()),
            ("ca_file", self.ca_file.is_some()),
            ("connections", self.connections != 1),
            ("reconnect_after_s", self.reconnect_after_s.is_some()),
        ];
        if let Some((key, _)) = foreign.into_iter().find(|(_, is_there)| *is_there) {
            return Err(format!("{key}: a feed of itch does not have this key"));
        }
        if let Some(symbol) = self.symbols.iter().find(|symbol| symbol.len() > MAX_SYMBOL_BYTES) {
            return Err(format!(
                "symbols: '{symbol}' has more than the {MAX_SYMBOL_BYTES} characters of ITCH"
            ));
        }
        Ok(())
    }

    /// Where a feed of ITCH comes from.
    pub(super) fn itch_endpoint(&self) -> Result<Endpoint, String> {
        let Some(url) = self.url.as_deref() else {
            return Err("url: a feed of itch needs one, as mold://239.1.1.1:26400 or soup://host:port".into());
        };
        let session = self.venue.protocol();
        if url.starts_with("mold://") {
            let plan = self.mold_plan(url)?;
            let (host, port) = (plan.lines[0].ip().to_string(), plan.lines[0].port());
            let address = Address { tls: false, host, port, path: String::new() };
            return Ok(Endpoint::of_packets(address, Speech::Mold(plan), session));
        }
        if url.starts_with("soup://") {
            let address = Address::parse(url, ["soup", ""]).map_err(|reason| format!("url: {reason}"))?;
            let has_port = url.trim_end_matches('/').ends_with(&format!(":{}", address.port));
            if !has_port || !address.path.is_empty() {
                return Err(format!("url: '{url}' is not soup://host:port"));
            }
            return Ok(Endpoint::of_packets(address, Speech::Soup(self.soup_plan()?), session));
        }
        Err(format!("url: '{url}' begins neither with mold:// nor with soup://"))
    }

    fn mold_plan(&self, url: &str) -> Result<MoldPlan, String> {
        let foreign = [
            ("username", self.username.is_some()),
            ("password", self.password.is_some()),
            ("session", self.session.is_some()),
        ];
        if let Some((key, _)) = foreign.into_iter().find(|(_, is_there)| *is_there) {
            return Err(format!("{key}: only a feed with a soup:// url has this key"));
        }
        let from_start = self.from_start.unwrap_or(false);
        if from_start && self.requests.is_none() {
            return Err("from_start: there must be requests, where a session's start is asked for".into());
        }
        let mut lines = vec![line("url", url)?];
        if let Some(url) = &self.second_url {
            let second = line("second_url", url)?;
            if second == lines[0] {
                return Err(
                    "second_url: it is the same as url; leave it out if there is one line only".into()
                );
            }
            lines.push(second);
        }
        let requests = self.requests.as_deref().map(|text| socket_address("requests", text)).transpose()?;
        Ok(MoldPlan { lines, requests, interface: self.interface, from_start })
    }

    fn soup_plan(&self) -> Result<SoupPlan, String> {
        let foreign = [
            ("second_url", self.second_url.is_some()),
            ("requests", self.requests.is_some()),
            ("interface", self.interface.is_some()),
        ];
        if let Some((key, _)) = foreign.into_iter().find(|(_, is_there)| *is_there) {
            return Err(format!("{key}: only a feed with a mold:// url has this key"));
        }
        let needed = |key: &str, value: &Option<String>| {
            value
                .clone()
                .ok_or_else(|| format!("{key}: a feed with a soup:// url needs one; it may be empty"))
        };
        let plan = SoupPlan {
            username: needed("username", &self.username)?,
            password: needed("password", &self.password)?,
            session: self.session.clone().unwrap_or_default(),
            from_start: self.from_start.unwrap_or(true),
        };
        // It names the field.
        Login::new(&plan.username, &plan.password, &plan.session, 0).map_err(|error| error.to_string())?;
        Ok(plan)
    }
}

/// The address of a line.
fn line(key: &str, url: &str) -> Result<SocketAddr, String> {
    let example = "as mold://239.1.1.1:26400";
    let address = url.strip_prefix("mold://").and_then(|address| address.parse::<SocketAddr>().ok());
    let address = address.filter(|address| address.port() != 0);
    let address = address.ok_or_else(|| format!("{key}: '{url}' is not mold://ADDRESS:PORT, {example}"))?;
    if address.is_ipv6() && address.ip().is_multicast() {
        return Err(format!("{key}: groups are joined over IPv4 only, {example}"));
    }
    Ok(address)
}

fn socket_address(key: &str, text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
    address.ok_or_else(|| format!("{key}: '{text}' is not ADDRESS:PORT, as 192.0.2.1:26410"))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::ingest::connect::Speech;

    fn outcome(venue: &str, lines: &str) -> Result<Config, String> {
        let text = format!(
            "[[feed]]\nvenue = \"{venue}\"\nsymbols = [\"A\"]\n{lines}\n[[chart]]\nsource = \"{venue}:A\"\n\
             timeframe = \"1m\"\n"
        );
        Config::parse(&text, "a test").map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_wrong_is_named() {
        let mold = "url = \"mold://239.1.1.1:9001\"\n";
        let soup = "url = \"soup://h:1\"\nusername = \"u\"\npassword = \"p\"\n";
        for (lines, words) in [
            (String::new(), &["url: a feed of itch needs one"][..]),
            ("url = \"wss://x\"".into(), &["url: 'wss://x' begins neither with mold://"]),
            ("url = \"mold://239.1.1.1\"".into(), &["url: 'mold://239.1.1.1' is not mold://ADDRESS:PORT"]),
            ("url = \"mold://h:1\"".into(), &["url: ", "is not mold://ADDRESS:PORT"]),
            ("url = \"mold://[ff02::1]:1\"".into(), &["url: ", "IPv4 only"]),
            (format!("{mold}second_url = \"239.1.1.2:1\""), &["second_url: ", "is not mold://"]),
            (format!("{mold}second_url = \"mold://239.1.1.1:9001\""), &["second_url: it is the same"]),
            (format!("{mold}requests = \"h\""), &["requests: 'h' is not ADDRESS:PORT"]),
            (format!("{mold}interface = \"lo\""), &["line 5", "invalid IPv4"]),
            (format!("{mold}from_start = true"), &["from_start: there must be requests"]),
            (format!("{mold}username = \"u\""), &["username: only a feed with a soup:// url"]),
            (format!("{mold}date = \"tomorrow\""), &["line 5", "'tomorrow' is not a date, as 2026-11-24"]),
            (format!("{mold}rest_url = \"https://x\""), &["rest_url: a feed of itch does not"]),
            (format!("{mold}connections = 2"), &["connections: a feed of itch does not"]),
            (format!("{mold}secondurl = \"x\""), &["line 5", "unknown field"]),
            (
                "url = \"soup://h\"\nusername = \"\"\npassword = \"\"".into(),
                &["url: ", "is not soup://host:port"],
            ),
            ("url = \"soup://h:1\"\nusername = \"u\"".into(), &["password: a feed with a soup:// url needs"]),
            (format!("{soup}requests = \"127.0.0.1:1\""), &["requests: only a feed with a mold:// url"]),
            (
                "url = \"soup://h:1\"\nusername = \"toolong\"\npassword = \"\"".into(),
                &["username must be at most 6"],
            ),
        ] {
            let error = outcome("itch", &lines).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{lines}: {error}");
        }
        for key in ["second_url = \"x\"", "requests = \"x\"", "date = \"2026-11-24\"", "from_start = true"] {
            let error = outcome("binance", key).unwrap_err();
            assert!(error.contains("only a feed of itch has this key"), "{key}: {error}");
        }
        let long = "[[feed]]\nvenue = \"itch\"\nsymbols = [\"ABCDEFGHI\"]\nurl = \"mold://239.1.1.1:1\"\n";
        let chart = "[[chart]]\nsource = \"itch:ABCDEFGHI\"\ntimeframe = \"1m\"\n";
        let error = Config::parse(&format!("{long}{chart}"), "a test").unwrap_err().to_string();
        assert!(error.contains("symbols: 'ABCDEFGHI' has more than the 8 characters"), "{error}");
    }

    #[test]
    fn a_feed_says_how_it_comes() {
        let lines = "url = \"mold://239.1.1.1:9001\"\nsecond_url = \"mold://239.1.1.2:9002\"\n\
                     requests = \"127.0.0.1:9100\"\ninterface = \"127.0.0.1\"\nfrom_start = true\ndate = \"2026-11-24\"";
        let config = outcome("itch", lines).unwrap();
        let feed = &config.feeds[0];
        assert_eq!(
            feed.transport().unwrap(),
            "MoldUDP64 on 239.1.1.1:9001 and 239.1.1.2:9002, from the session's start; what is missing is asked for \
             at 127.0.0.1:9100; as of 2026-11-24"
        );
        assert_eq!(feed.endpoint(&[]).unwrap().seats(), Some(3));
        assert_eq!((config.price_digits(&config.charts[0].source), feed.rest()), (4, Ok(None)));
        let config = outcome("itch", "url = \"soup://[::1]:7\"\nusername = \"\"\npassword = \"\"").unwrap();
        let endpoint = config.feeds[0].endpoint(&[]).unwrap();
        assert!(matches!(&endpoint.speech, Speech::Soup(plan) if plan.from_start), "{endpoint:?}");
        assert_eq!(
            config.feeds[0].transport().unwrap(),
            "SoupBinTCP at soup://[::1]:7, the session from its start"
        );
        let one = outcome("itch", "url = \"mold://127.0.0.1:9001\"").unwrap();
        assert_eq!(
            one.feeds[0].transport().unwrap(),
            "MoldUDP64 on 127.0.0.1:9001; what is missing is not asked for again"
        );
        assert_eq!(outcome("binance", "").unwrap().feeds[0].transport(), None);
    }
}
