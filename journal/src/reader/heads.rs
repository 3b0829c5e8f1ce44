//! The segments of a journal, and how each begins.
//!
//! What holds: a segment counts only below the lowest sequence with which a later one begins. How each begins is looked
//! up when it is needed, and once. One that was removed since they were listed is empty.

use crate::block::BadBlock;
use crate::reader::window::Window;
use crate::reader::{ReadError, parts};
use crate::store::{Segment, Store};
use std::cell::Cell;
use std::io::ErrorKind;

/// The first block of a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) identity: [u8; 16],
    pub(crate) first: u64,
    pub(crate) durable: u64,
    pub(crate) previous_crc: u32,
    /// How long the block is, and whether a record begins or goes on in it that is not repeated.
    pub(crate) bytes: u64,
    pub(crate) has_records: bool,
}

/// Below which sequence a segment counts, and which later one says so, if one does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) below: u64,
    pub(crate) by: Option<usize>,
}

/// See above.
pub(crate) struct Segments<'s> {
    pub(crate) store: &'s dyn Store,
    pub(crate) list: Vec<Segment>,
    heads: Vec<Option<Option<Head>>>,
    /// Which were found to be removed. None if nobody may change the journal meanwhile.
    gone: Option<Vec<Cell<bool>>>,
}

fn listed(store: &dyn Store) -> Result<Vec<Segment>, ReadError> {
    let mut list = store.list()?;
    list.sort_unstable();
    list.dedup_by_key(|segment| segment.number);
    Ok(list)
}

impl<'s> Segments<'s> {
    /// Those of a journal that nobody else changes.
    pub(crate) fn new(store: &'s dyn Store) -> Result<Self, ReadError> {
        let list = listed(store)?;
        Ok(Self { store, heads: vec![None; list.len()], list, gone: None })
    }

    /// Those of a journal that may be written meanwhile, packed and made shorter.
    pub(crate) fn of_live(store: &'s dyn Store) -> Result<Self, ReadError> {
        let mut list = listed(store)?;
        if list.windows(2).any(|pair| pair[0].number + 1 != pair[1].number) {
            // One that was replaced while the folder was listed may be in the list in neither form.
            list = listed(store)?;
        }
        let gone = Some(vec![Cell::new(false); list.len()]);
        Ok(Self { store, heads: vec![None; list.len()], list, gone })
    }

    /// A single segment.
    pub(crate) fn of_one(store: &'s dyn Store, segment: Segment) -> Self {
        Self { store, list: vec![segment], heads: vec![None], gone: None }
    }

    /// Opens a segment. None if it is packed and cannot be unpacked at all.
    pub(crate) fn open(&self, place: usize) -> Result<Option<Window>, ReadError> {
        match self.store.open(&self.list[place]) {
            Ok(source) => Ok(Some(Window::new(source))),
            // One that was plain when it was listed may be packed now.
            Err(error) if error.kind() == ErrorKind::InvalidData => Ok(None),
            Err(source) => match &self.gone {
                Some(gone) if source.kind() == ErrorKind::NotFound => {
                    gone[place].set(true);
                    Ok(Some(Window::empty()))
                }
                _ => Err(ReadError::Io { segment: self.list[place].number, source }),
            },
        }
    }

    /// Whether it was not there any more when it was opened.
    pub(crate) fn is_gone(&self, place: usize) -> bool {
        self.gone.as_ref().and_then(|gone| gone.get(place)).is_some_and(Cell::get)
    }

    /// Whether the journal may be written meanwhile.
    pub(crate) fn is_live(&self) -> bool {
        self.gone.is_some()
    }

    /// How a segment begins. None if its first block is none.
    pub(crate) fn head(&mut self, place: usize) -> Result<Option<Head>, ReadError> {
        let Some(known) = self.heads.get(place) else { return Ok(None) };
        if let Some(head) = known {
            return Ok(*head);
        }
        let head = self.read_head(place)?;
        self.heads[place] = Some(head);
        Ok(head)
    }

    fn read_head(&self, place: usize) -> Result<Option<Head>, ReadError> {
        let number = self.list[place].number;
        let Some(mut window) = self.open(place)? else { return Ok(None) };
        let block: Result<_, BadBlock> =
            window.block(0).map_err(|source| ReadError::Io { segment: number, source })?;
        let Ok((block, payload)) = block else { return Ok(None) };
        let is_first = block.number == number && block.index == 0;
        let survey = parts::survey(window.bytes(), &block, &payload).filter(|_| is_first);
        Ok(survey.map(|survey| Head {
            identity: block.segment,
            first: block.first,
            durable: block.durable,
            previous_crc: block.previous_crc,
            bytes: block.block_bytes() as u64,
            has_records: block.count > 0 || survey.continues,
        }))
    }

    /// Below which sequence a segment counts.
    pub(crate) fn limit(&mut self, place: usize) -> Result<Limit, ReadError> {
        let mut limit = Limit { below: u64::MAX, by: None };
        for later in place + 1..self.list.len() {
            let Some(head) = self.head(later)? else { continue };
            if head.first < limit.below {
                limit = Limit { below: head.first, by: Some(later) };
            }
            if head.durable >= limit.below {
                break; // No segment begins below what was durable before it was there.
            }
        }
        Ok(limit)
    }
}
