//! Leases: one page for each, which one reader writes and the writer of the frames reads.
//!
//! A page is a memfd of its own, sealed against every change of its size. Its word [`LEASE`] says which slot its
//! reader uses in place: see [`crate::slots`]. Whatever else a reader stores there costs it nothing but its own slot.
//! A page is never given to a second reader, who would share it with a first that kept its mapping.

use crate::ShmError;
use crate::prefix::{Identity, Prefix};
use crate::record::{Text, record};
use crate::segment::{self, SharedWords};
use crate::slots::leased_slot;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::*, fence};
use std::sync::{Arc, Mutex, PoisonError};

/// The first word of a lease page: "chartdL3".
pub const MAGIC: u64 = u64::from_le_bytes(*b"chartdL3");
/// The most leases on one chart.
pub const MAX_LEASES: usize = 16;
/// Where the lease stands in its page, on a line of its own.
pub const LEASE: usize = 32;

const PAGE_BYTES: usize = 4096;
/// Where things stand in a lease page, in words.
pub const PLACES: &[(&str, usize)] = &[("lease", LEASE)];

record! {
    /// What the daemon writes into a page before it gives it away.
    pub struct LeaseHeader {
        /// What it is; its magic is [`MAGIC`].
        pub prefix: Prefix,
        /// The chart whose slots it can lease: `venue:SYMBOL/timeframe`.
        pub chart: Text<8>,
    }
}

/// The leases on one chart. The cold side grants and ends them; the thread that publishes frames looks at them.
#[derive(Debug)]
pub struct LeaseTable {
    /// Stands at the beginning of each page.
    header: LeaseHeader,
    /// Each points at a granted page's lease word, or is null.
    words: Box<[AtomicPtr<AtomicU64>]>,
    /// Odd while the publishing thread follows these pointers.
    looks: AtomicU64,
    /// Which places are granted.
    granted: Mutex<Vec<bool>>,
}

/// One reader's lease page. While this lives, its slot is left alone.
#[derive(Debug)]
pub struct LeaseGrant {
    table: Arc<LeaseTable>,
    place: usize,
    page: SharedWords,
}

impl LeaseTable {
    /// A table for a chart with room for `leases`, at most [`MAX_LEASES`].
    pub fn new(chart: Text<8>, identity: &Identity, leases: usize) -> Arc<Self> {
        let header = LeaseHeader { prefix: Prefix::new(MAGIC, LeaseHeader::WORDS, identity), chart };
        let words = (0..leases.min(MAX_LEASES)).map(|_| AtomicPtr::default()).collect();
        let granted = Mutex::new(vec![false; leases.min(MAX_LEASES)]);
        Arc::new(Self { header, words, looks: AtomicU64::new(0), granted })
    }

    /// How many leases there can be.
    pub fn capacity(&self) -> usize {
        self.words.len()
    }

    /// How many are granted.
    pub fn granted(&self) -> usize {
        self.places().iter().filter(|granted| **granted).count()
    }

    /// Makes a page for a reader; `None` if all leases are granted already.
    pub fn grant(self: &Arc<Self>) -> Result<Option<LeaseGrant>, ShmError> {
        let mut places = self.places();
        let Some(place) = places.iter().position(|granted| !granted) else {
            return Ok(None);
        };
        let page = SharedWords::create("chartd-lease", PAGE_BYTES, &self.header.to_words())?;
        // The word lies in a mapping that the grant owns. It takes the pointer out of here before it unmaps.
        self.words[place].store(std::ptr::from_ref(page.word(LEASE)).cast_mut(), Release);
        places[place] = true;
        Ok(Some(LeaseGrant { table: self.clone(), place, page }))
    }

    /// The slots that are leased now, a bit each. Begins with a fence, as [`crate::slots::Rotation::take`] demands. One
    /// thread at a time: the one that publishes.
    pub fn leased(&self) -> u32 {
        let look = self.looks.load(Relaxed);
        // Releases what the look before this one read: a grant that ends may see this value first.
        self.looks.store(look + 1, Release);
        // A grant that ends takes its pointer away, then looks whether somebody is in here: see `LeaseGrant::drop`.
        fence(SeqCst);
        let mut bits = 0;
        for word in &self.words {
            let word = word.load(Acquire);
            if !word.is_null() {
                // SAFETY: the pointer was set by `grant` to a word of a mapping that stays until its grant is dropped,
                // which waits until `looks` is even or has moved on after taking the pointer away. It is an atomic,
                // so that the reader may write it at any time; each look reads it once.
                bits |= leased_slot(unsafe { (*word).load(Acquire) });
            }
        }
        self.looks.store(look + 2, Release);
        bits
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Vec<bool>> {
        // A thread that panicked has not left it half changed.
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseGrant {
    /// The descriptor for its reader, who maps it writable.
    pub fn fd(&self) -> Result<OwnedFd, ShmError> {
        self.page.fd()
    }
}

impl Drop for LeaseGrant {
    fn drop(&mut self) {
        self.table.words[self.place].store(std::ptr::null_mut(), Relaxed);
        fence(SeqCst);
        let look = self.table.looks.load(Acquire);
        // Somebody may still follow the old pointer. A look is a few loads long, and the next one finds null.
        while !look.is_multiple_of(2) && self.table.looks.load(Acquire) == look {
            std::thread::yield_now();
        }
        self.table.places()[self.place] = false;
    }
}

/// A reader's own lease page.
#[derive(Debug)]
pub(crate) struct Lease {
    page: SharedWords,
}

impl Lease {
    /// Maps a page that the daemon granted, for that chart of that daemon.
    pub(crate) fn open(fd: OwnedFd, chart: Text<8>, identity: &Identity) -> Result<Self, ShmError> {
        let foreign = |why| ShmError::Foreign { kind: "lease", why };
        let page = SharedWords::map(fd)?;
        if page.len() <= LEASE {
            return Err(foreign("it is too short"));
        }
        Prefix::check(page.as_read(), "lease", MAGIC)?;
        let header = LeaseHeader::from_words(&page.as_read().array(0));
        if header.chart != chart || header.prefix.identity() != *identity {
            return Err(foreign("it is a lease on another chart"));
        }
        Ok(Self { page })
    }

    /// The word that says which slot is leased.
    pub(crate) fn word(&self) -> &AtomicU64 {
        self.page.word(LEASE)
    }
}

const _: () = assert!(LeaseHeader::WORDS <= LEASE && PAGE_BYTES == segment::SMALL_PAGE_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    fn table(leases: usize) -> Arc<LeaseTable> {
        LeaseTable::new(Text::new("binance:X/1m"), &Identity::default(), leases)
    }

    fn open(grant: &LeaseGrant) -> Lease {
        let identity = Identity::default();
        Lease::open(grant.fd().unwrap(), Text::new("binance:X/1m"), &identity).unwrap()
    }

    #[test]
    fn grants_are_bounded_and_come_back() {
        let table = table(2);
        let grant = || table.grant().unwrap();
        let (first, second) = (grant().unwrap(), grant().unwrap());
        assert!(grant().is_none());
        let lease = open(&second);
        assert_eq!(table.leased(), 0);
        lease.word().store(7 << 8 | 3, Relaxed);
        assert_eq!(table.leased(), 0b100);
        drop(first);
        assert_eq!((table.granted(), table.leased()), (1, 0b100));
        drop(second);
        // The reader still has its mapping, and writes on.
        lease.word().store(1, Relaxed);
        assert_eq!((table.granted(), table.leased()), (0, 0));
        assert!(grant().is_some());
    }

    #[test]
    fn grants_end_while_somebody_looks() {
        let table = table(4);
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    assert_eq!(table.leased() & !0b1, 0);
                }
            });
            for _ in 0..2_000 {
                open(&table.grant().unwrap().unwrap()).word().store(1, Relaxed);
            }
            stop.store(true, Relaxed);
        });
    }
}
