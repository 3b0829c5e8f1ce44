//! The shared-memory ABI of chartd: what the daemon writes and any local program may read.
//!
//! What holds:
//!
//! - **Readers cannot write.** Segments are anonymous memfds, sealed before anyone sees them: no reader can map
//!   them writable, shrink, grow or punch them. There are no named objects, so a crash leaves nothing behind.
//! - **A writer never waits for a reader.** Readers copy under a sequence number and try again if it moved, or lease
//!   a slot and use it in place: [`slots`] has the protocol.
//! - **A reader never sees half a record or half a frame**, or it is told so.
//! - Every record's layout is defined once, in the file that is named after its segment: [`frame`], [`market`],
//!   [`status`], [`lease`]; each begins with a [`prefix`]. [`control`] holds the messages by which a reader gets its
//!   descriptors, and by which it waits; [`adjust`] what it may ask of a chart.
//!
//! All fields are little-endian 64-bit words, read and written as atomics, so that a race is never undefined
//! behaviour. The unsafe code is in [`segment`], and one line of [`lease`]. `ABI.md` describes the layout for readers
//! in other languages.

pub mod adjust;
pub mod control;
pub mod frame;
pub mod histogram;
pub mod lease;
pub mod market;
pub mod prefix;
pub mod record;
pub mod segment;
pub mod slots;
pub mod status;

/// Readers and writers must agree on this number.
pub const ABI_MAJOR: u64 = 3;

/// Rises when fields are added behind the existing ones.
pub const ABI_MINOR: u64 = 2;

/// Follows from every record's fields, their types and their order. Two builds of one version must agree in it.
pub const LAYOUT_HASH: u64 = prefix::hash(&[
    prefix::Prefix::DEFINITION,
    frame::FrameHeader::DEFINITION,
    frame::FrameInfo::DEFINITION,
    lease::LeaseHeader::DEFINITION,
    market::MarketHeader::DEFINITION,
    market::InstrumentEntry::DEFINITION,
    market::QuoteRecord::DEFINITION,
    market::StreamState::DEFINITION,
    market::SeriesEntry::DEFINITION,
    market::SeriesState::DEFINITION,
    market::TickRecord::DEFINITION,
    market::CandleRecord::DEFINITION,
    status::StatusHeader::DEFINITION,
    status::Liveness::DEFINITION,
    status::LoopEntry::DEFINITION,
    status::LoopState::DEFINITION,
    status::ChartEntry::DEFINITION,
    status::ChartState::DEFINITION,
    status::JournalState::DEFINITION,
    status::JournalIntake::DEFINITION,
    adjust::AdjustWords::DEFINITION,
    control::Request::DEFINITION,
    control::Reply::DEFINITION,
]);

#[cfg(not(all(target_endian = "little", target_pointer_width = "64")))]
compile_error!("chartd's shared memory is laid out for 64-bit little-endian machines");

/// What can go wrong with a segment.
#[derive(Debug, thiserror::Error)]
pub enum ShmError {
    /// The kernel refused a step of making or mapping a segment.
    #[error("cannot {step} a shared-memory segment of {len_bytes} bytes")]
    Kernel {
        /// What was attempted.
        step: &'static str,
        /// The segment's size.
        len_bytes: usize,
        /// The kernel's reason.
        source: nix::Error,
    },
    /// The segment is not what it should be.
    #[error("this is not a chartd {kind} segment of ABI {ABI_MAJOR}: {why}")]
    Foreign {
        /// Which segment was expected.
        kind: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A size is outside what the ABI can express.
    #[error("{what} is {value}; the shared-memory layout allows {limit}")]
    Limit {
        /// Which size.
        what: &'static str,
        /// Its value.
        value: usize,
        /// The allowed range.
        limit: &'static str,
    },
}
