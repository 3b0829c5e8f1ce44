//! The tick journal: what is on disk, how it gets there, and what can be read back after anything.
//!
//! No threads, no clocks and no sockets are here; the daemon has those. JOURNAL.md describes every byte.
//!
//! A record's way: the hot thread pours it into a [`Tap`], a bounded queue in memory. The journal thread drains that
//! into blocks and writes them to a segment, as the [`Writer`] says, which knows neither files nor rings: it gives
//! [`Op`]s out and takes their outcomes in. What is on disk is read through a [`Store`], which may be a folder or a
//! simulated disk: by a [`Reader`], record by record, and by [`recover`], which cuts a torn tail before the next run.
//!
//! - `block`, `record`: the format
//! - `queue`: between the hot thread and the journal thread
//! - `writer`: what is written when, and how far it is durable
//! - `store`: where segments are
//! - `reader`: what they say, and what is missing
//! - `recovery`: what a new run begins with
//! - `verify`: all of a journal, counted
//! - `index`, `pack`, `retention`: what becomes of closed segments

pub mod block;
pub mod index;
pub mod pack;
pub mod queue;
pub mod reader;
pub mod record;
pub mod recovery;
pub mod retention;
pub mod store;
pub mod verify;
pub mod writer;

pub use index::{Index, rebuild_index};
pub use pack::{PackError, PackedBytes, pack};
pub use queue::{Drain, Tap, queue};
pub use reader::{Item, Missing, ReadError, Reader, Span, Why};
pub use record::{Header, Kind, Record, Stamp};
pub use recovery::{Recovered, recover};
pub use store::{Folder, Form, Segment, Source, Store};
pub use verify::{Report, verify};
pub use writer::{Durability, Errno, Flush, Op, OpId, Plan, Position, Writer};
