//! What can go wrong at a venue, how often it is made to, and the record of what was.
//!
//! What holds: pure and replayable. The same seed and the same messages of a connection give the same faults.

mod garble;
mod injector;
mod log;

pub(super) use injector::{Injector, Ready, Record, RestFaults, Shape};
pub(super) use log::Log;

pub use log::Injected;

use std::fmt;
use std::str::FromStr;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A message is lost.
    Drop,
    /// A message comes twice.
    Duplicate,
    /// A message and its successor on the connection change places.
    Reorder,
    /// A message comes up to two seconds late, and others overtake it.
    Delay,
    /// The whole connection says nothing for up to two seconds, then everything.
    Stall,
    /// A message comes in several WebSocket frames, cut anywhere.
    Fragment,
    /// A ping stands between the frames of a message, on each connection once a second at most, since it has to
    /// be answered. Per message that is cut.
    Ping,
    /// What is written leaves in many small TCP segments, cut anywhere.
    Segment,
    /// The connection is closed with a code.
    Close,
    /// The connection is reset.
    Abort,
    /// One stream of a connection loses its messages for some seconds, while the others flow.
    Silence,
    /// A message of a book has bids for asks and asks for bids.
    Cross,
    /// A Kraken checksum is wrong.
    Checksum,
    /// Binance's `U` and `u` of one message are too high, or Advanced Trade's `sequence_num` jumps for good.
    Sequence,
    /// A message of a type that no client knows comes in between.
    Unknown,
    /// Half a TLS record, then the end.
    HalfRecord,
    /// A REST answer comes up to five seconds late.
    SlowRest,
    /// A REST request is answered with 429 or 503.
    RestError,
}

/// What a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Per {
    Message,
    Minute,
    Request,
}

impl Fault {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 18] = [
        Self::Drop,
        Self::Duplicate,
        Self::Reorder,
        Self::Delay,
        Self::Stall,
        Self::Fragment,
        Self::Ping,
        Self::Segment,
        Self::Close,
        Self::Abort,
        Self::Silence,
        Self::Cross,
        Self::Checksum,
        Self::Sequence,
        Self::Unknown,
        Self::HalfRecord,
        Self::SlowRest,
        Self::RestError,
    ];

    /// Name, what the rate counts, and the rate that `all` means.
    const fn facts(self) -> (&'static str, Per, f64) {
        match self {
            Self::Drop => ("drop", Per::Message, 0.001),
            Self::Duplicate => ("duplicate", Per::Message, 0.001),
            Self::Reorder => ("reorder", Per::Message, 0.001),
            Self::Delay => ("delay", Per::Message, 0.001),
            Self::Stall => ("stall", Per::Minute, 0.2),
            Self::Fragment => ("fragment", Per::Message, 0.01),
            Self::Ping => ("ping", Per::Message, 0.2),
            Self::Segment => ("segment", Per::Message, 0.01),
            Self::Close => ("close", Per::Minute, 0.1),
            Self::Abort => ("abort", Per::Minute, 0.1),
            Self::Silence => ("silence", Per::Minute, 0.2),
            Self::Cross => ("cross", Per::Message, 0.0002),
            Self::Checksum => ("checksum", Per::Message, 0.0005),
            Self::Sequence => ("sequence", Per::Message, 0.0005),
            Self::Unknown => ("unknown", Per::Message, 0.001),
            Self::HalfRecord => ("half-record", Per::Minute, 0.05),
            Self::SlowRest => ("slow-rest", Per::Request, 0.1),
            Self::RestError => ("rest-error", Per::Request, 0.05),
        }
    }

    /// The name by which the command line knows it.
    pub const fn name(self) -> &'static str {
        self.facts().0
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each fault is made to happen. Its text is `all`, or a list as `drop=0.001,close=0.5`, or both:
/// what stands later wins. A rate is a probability per message or request, or a mean number per minute of a
/// connection; see [`Fault`] and [`Faults::help`].
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    rates: [f64; Fault::ALL.len()],
}

impl Faults {
    /// No faults.
    pub const fn none() -> Self {
        Self { rates: [0.0; Fault::ALL.len()] }
    }

    /// Everything, at rates that a good client survives and a bad one does not.
    pub fn all() -> Self {
        Self { rates: Fault::ALL.map(|fault| fault.facts().2) }
    }

    /// The same with another rate for one fault; out of its range it is moved to the nearest in it.
    #[must_use]
    pub fn with(mut self, fault: Fault, rate: f64) -> Self {
        self.rates[fault as usize] = if rate.is_nan() { 0.0 } else { rate.clamp(0.0, most(fault)) };
        self
    }

    /// How often a fault is to happen.
    pub fn rate(&self, fault: Fault) -> f64 {
        self.rates[fault as usize]
    }

    /// Whether anything is to go wrong at all.
    pub fn any(&self) -> bool {
        self.rates.iter().any(|rate| *rate > 0.0)
    }

    /// One line for each fault: its name, what its rate counts, and the rate that `all` means.
    pub fn help() -> String {
        let line = |fault: Fault| {
            let (name, per, rate) = fault.facts();
            let per = match per {
                Per::Message => "per message",
                Per::Minute => "per minute of a connection",
                Per::Request => "per request",
            };
            format!("  {name:<12} {rate:<7} {per}\n")
        };
        Fault::ALL.map(line).concat()
    }
}

/// The highest rate that makes sense.
const fn most(fault: Fault) -> f64 {
    if matches!(fault.facts().1, Per::Minute) { 6_000.0 } else { 1.0 }
}

/// Why a list of faults cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultsError {
    /// A name that no fault has.
    #[error(
        "there is no fault '{0}'; use all, or one of drop, duplicate, reorder, delay, stall, fragment, ping, segment, close, abort, silence, cross, checksum, sequence, unknown, half-record, slow-rest, rest-error"
    )]
    Unknown(String),
    /// A rate that is no number in its range.
    #[error("the rate of '{fault}' must be a number from 0 to {most}, as {fault}=0.01")]
    Rate {
        /// Whose rate it is.
        fault: &'static str,
        /// The highest rate.
        most: u32,
    },
}

impl FromStr for Faults {
    type Err = FaultsError;

    fn from_str(text: &str) -> Result<Self, FaultsError> {
        let mut faults = Self::none();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            if item == "all" {
                faults = Self::all();
                continue;
            }
            let (name, rate) = item.split_once('=').unwrap_or((item, ""));
            let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
            let fault = fault.ok_or_else(|| FaultsError::Unknown(name.to_owned()))?;
            let most = most(fault);
            let rate = rate.parse::<f64>().ok().filter(|rate| (0.0..=most).contains(rate));
            let rate = rate.ok_or(FaultsError::Rate { fault: fault.name(), most: most as u32 })?;
            faults.rates[fault as usize] = rate;
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_from_text() {
        let faults: Faults = "drop=0.5, close=30".parse().unwrap();
        assert_eq!((faults.rate(Fault::Drop), faults.rate(Fault::Close)), (0.5, 30.0));
        assert_eq!(faults.rate(Fault::Delay), 0.0);
        assert_eq!("all".parse::<Faults>().unwrap(), Faults::all());
        let but: Faults = "all,abort=0".parse().unwrap();
        assert_eq!(but, Faults::all().with(Fault::Abort, 0.0));
        assert!("".parse::<Faults>().unwrap() == Faults::none() && !Faults::none().any());
        for bad in ["drop", "drop=2", "drop=-1", "drop=x", "close=6001", "nosuch=1"] {
            assert!(bad.parse::<Faults>().is_err(), "{bad}");
        }
        for (i, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, i);
            let error = FaultsError::Unknown(String::new()).to_string();
            assert!(error.contains(fault.name()) && Faults::help().contains(fault.name()), "{fault}");
        }
    }
}
