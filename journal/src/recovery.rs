//! What a new run begins with: the torn tail is cut, so that what follows joins what is there.
//!
//! It writes nothing but that, and can be broken off and begun again at any step.

use crate::reader::{Missing, ReadError};
use crate::store::Store;
use crate::writer::Position;

/// What a journal was found to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Where the next run goes on. All before it is durable now.
    pub position: Position,
    /// The number of the next segment.
    pub next_segment: u64,
    /// What is missing: at most one torn tail, and any number of corruptions.
    pub missing: Vec<Missing>,
    /// How many records there are.
    pub records: u64,
}

/// Looks through the journal, cuts a torn tail, removes segments that hold nothing, and makes the rest durable.
/// A store without segments is a new journal.
pub fn recover(store: &dyn Store) -> Result<Recovered, ReadError> {
    todo!()
}
