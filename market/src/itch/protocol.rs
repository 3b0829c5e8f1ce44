//! ITCH 5.0 as a venue of chartd: nothing is asked for, and nothing is served apart from the stream.
//!
//! Where it is found is the configuration's to say: MoldUDP64 or SoupBinTCP, at addresses that an exchange agrees with
//! each client. Both number every message of a session, so the transport alone proves trades and books: see
//! [`Reader`] for what is shown when a session was joined late or messages were lost.

use super::reader::Reader;
use crate::message::Kline;
use crate::protocol::{
    BookProof, Decoder, Limits, Missing, Proof, Protocol, Rest, RestError, Session, Subscription,
};
use crate::{Instrument, Timeframe, Trade};

/// NASDAQ TotalView-ITCH 5.0.
#[derive(Debug, Clone, Copy, Default)]
pub struct Itch;

impl Protocol for Itch {
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Reader::default())
    }

    fn proof(&self) -> Proof {
        Proof { trades_are_numbered: false, begins_with_past: false, book: BookProof::Transport }
    }

    fn is_numbered_by_transport(&self) -> bool {
        true
    }
}

impl Session for Itch {
    /// There is none: the address is agreed with the exchange.
    fn websocket_url(&self) -> &'static str {
        ""
    }

    fn target(&self, path: &str, _wanted: &Subscription<'_>) -> String {
        path.to_owned()
    }

    fn subscribe(&self, _wanted: &Subscription<'_>) -> Vec<String> {
        Vec::new()
    }

    fn resubscribe_book(&self, _symbol: &str) -> Vec<String> {
        Vec::new()
    }

    fn resubscribe(&self, _symbol: &str, _wanted: &Subscription<'_>) -> Vec<String> {
        Vec::new()
    }

    fn limits(&self) -> Limits {
        Limits {
            messages_per_second: 1_000,
            connects: 60,
            connects_window_s: 60,
            symbols_per_connection: 128,
            message_bytes: 64 << 10,
            idle_ms: 10_000, // Both transports have a heartbeat every second.
            max_age_s: None,
        }
    }
}

fn none<T>() -> Result<T, RestError> {
    Err(RestError::Shape("an ITCH feed has no REST interface".into()))
}

impl Rest for Itch {
    fn rest_url(&self) -> &'static str {
        ""
    }

    fn instruments(&self, _symbols: &[String]) -> String {
        String::new()
    }

    fn read_instruments(&self, _body: &[u8], _symbols: &[String]) -> Result<Vec<Instrument>, RestError> {
        none()
    }

    fn trades(&self, _symbol: &str, _missing: &Missing) -> Option<String> {
        None
    }

    fn read_trades(&self, _body: &[u8], _instrument: &Instrument) -> Result<Vec<Trade>, RestError> {
        none()
    }

    fn klines(&self, _symbol: &str, _timeframe: Timeframe, _limit: usize, _now_ms: i64) -> Option<String> {
        None
    }

    fn read_klines(
        &self,
        _body: &[u8],
        _instrument: &Instrument,
        _timeframe: Timeframe,
    ) -> Result<Vec<Kline>, RestError> {
        none()
    }
}
