//! Sealed memory: the daemon writes, everybody else can only read. All unsafe code of this crate is here.
//!
//! A segment is an anonymous memfd. Its seals (SHRINK, GROW, FUTURE_WRITE, SEAL) are set before any other process
//! can have it: the mapping made here stays writable, and no further writable mapping can be made by anyone.

use crate::ShmError;
use crate::prefix::Prefix;
use memmap2::{Advice, MmapOptions, MmapRaw};
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, SealFlag, fallocate, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fstat};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering, Ordering::*, fence};

const HUGE_PAGE_BYTES: usize = 2 << 20;
pub(crate) const SMALL_PAGE_BYTES: usize = 4096;

/// Where a segment's pages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pages {
    /// 2 MiB pages that the administrator has set aside (hugetlb).
    SetAside,
    /// 2 MiB pages that the kernel puts together, if it may and can (shmem_enabled).
    Transparent,
    /// 4 KiB pages.
    Small,
}

/// Whether the kernel has mapped all of it by 2 MiB pages.
fn is_huge(map: &MmapRaw) -> bool {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let begin = format!("{:x}-", map.as_ptr() as usize);
    let Some((_, own)) = smaps.split_once(&begin) else {
        return false;
    };
    let huge = own.lines().find_map(|line| line.strip_prefix("ShmemPmdMapped:"));
    let kib = huge.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse::<usize>().ok());
    kib.is_some_and(|kib| kib << 10 >= map.len())
}

/// Memory that this process may write and that others can only read.
#[derive(Debug)]
pub struct Segment {
    map: MmapRaw,
    fd: OwnedFd,
    page_bytes: usize,
}

impl Segment {
    /// Makes a segment of at least `len_bytes`, zeroed, with every page in memory.
    ///
    /// With `huge`, 2 MiB pages are tried first: those that the administrator has set aside, then what the kernel can
    /// put together ("transparent"). [`Segment::page_bytes`] tells what it got.
    pub fn create(name: &str, len_bytes: usize, huge: bool) -> Result<Self, ShmError> {
        if huge && let Ok(segment) = Self::with_pages(name, len_bytes, Pages::SetAside) {
            return Ok(segment);
        }
        // Rounding a small segment up to 2 MiB would waste more than it gains.
        let transparent = huge && len_bytes >= HUGE_PAGE_BYTES;
        if transparent
            && let Ok(segment) = Self::with_pages(name, len_bytes, Pages::Transparent)
            && segment.page_bytes == HUGE_PAGE_BYTES
        {
            return Ok(segment);
        }
        Self::with_pages(name, len_bytes, Pages::Small)
    }

    fn with_pages(name: &str, len_bytes: usize, pages: Pages) -> Result<Self, ShmError> {
        let unit = if pages == Pages::Small { SMALL_PAGE_BYTES } else { HUGE_PAGE_BYTES };
        let len_bytes = len_bytes.max(1).next_multiple_of(unit);
        let failed = |step| move |source| ShmError::Kernel { step, len_bytes, source };
        let mut flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        if pages == Pages::SetAside {
            flags |= MFdFlags::MFD_HUGETLB | MFdFlags::MFD_HUGE_2MB;
        }
        let fd = memfd_create(name, flags).map_err(failed("create"))?;
        nix::unistd::ftruncate(&fd, len_bytes as i64).map_err(failed("size"))?;
        if pages != Pages::Transparent {
            // Allocating now turns a shortage into this error. Later it would be a SIGBUS.
            fallocate(&fd, FallocateFlags::empty(), 0, len_bytes as i64).map_err(failed("allocate"))?;
        }
        let map =
            MmapOptions::new().len(len_bytes).map_raw(&fd).map_err(|e| failed("map")(error_number(&e)))?;
        if pages == Pages::Transparent {
            map.advise(Advice::HugePage).map_err(|error| failed("advise")(error_number(&error)))?;
        }
        // Fails where there is no memory, instead of a signal at the first touch.
        map.advise(Advice::PopulateWrite).map_err(|error| failed("populate")(error_number(&error)))?;
        let page_bytes = match pages {
            Pages::Transparent if !is_huge(&map) => SMALL_PAGE_BYTES,
            _ => unit,
        };
        let seals = SealFlag::F_SEAL_SHRINK
            | SealFlag::F_SEAL_GROW
            | SealFlag::from_bits_retain(nix::libc::F_SEAL_FUTURE_WRITE)
            | SealFlag::F_SEAL_SEAL;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).map_err(failed("seal"))?;
        Ok(Self { map, fd, page_bytes })
    }

    /// The size of its pages: 2 MiB or 4 KiB.
    pub fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// A descriptor to hand to a reader. It is opened read-only; the seals are what protects the memory.
    pub fn reader_fd(&self) -> Result<OwnedFd, ShmError> {
        reopen(&self.fd, OFlag::O_RDONLY, self.map.len())
    }

    /// The memory, for writing.
    pub fn words(&self) -> WriteWords<'_> {
        // SAFETY: the mapping is page-aligned, lives as long as `self`, and its length is a multiple of 8. Seals
        // keep the file from shrinking, so every page stays backed. Atomics may be shared with other mappings.
        let words = unsafe { core::slice::from_raw_parts(self.map.as_ptr().cast(), self.map.len() / 8) };
        WriteWords { words }
    }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A segment that another process writes, mapped for reading.
#[derive(Debug)]
pub struct View {
    map: MmapRaw,
}

impl View {
    /// Maps a descriptor from [`Segment::reader_fd`]. Refuses memory that could shrink under the reader.
    pub fn map(fd: impl AsFd) -> Result<Self, ShmError> {
        let len_bytes = sealed_len(&fd)?;
        let failed = |error| ShmError::Kernel { step: "map", len_bytes, source: error_number(&error) };
        let map = MmapOptions::new().len(len_bytes).map_raw_read_only(&fd.as_fd()).map_err(failed)?;
        Ok(Self { map })
    }

    /// Maps a segment that begins with a [`Prefix`] of that magic, as all of chartd's do, and has at least
    /// `least_words`.
    pub(crate) fn open(
        fd: impl AsFd,
        kind: &'static str,
        magic: u64,
        least_words: usize,
    ) -> Result<Self, ShmError> {
        let view = Self::map(fd)?;
        if view.words().len() < least_words.max(Prefix::WORDS) {
            return Err(ShmError::Foreign { kind, why: "it is too short for a header" });
        }
        Prefix::check(view.words(), kind, magic)?;
        Ok(view)
    }

    /// The memory, for reading.
    pub fn words(&self) -> ReadWords<'_> {
        // SAFETY: as in `Segment::words`. The pages are read-only, and `ReadWords` only loads: relaxed and acquire
        // loads of 8 bytes are allowed on read-only memory (std::sync::atomic, "Atomic accesses to read-only
        // memory").
        let words = unsafe { core::slice::from_raw_parts(self.map.as_ptr().cast(), self.map.len() / 8) };
        ReadWords { words }
    }
}

/// A small memory that both this process and one other may write, word by word. Its size is sealed.
#[derive(Debug)]
pub(crate) struct SharedWords {
    map: MmapRaw,
    fd: OwnedFd,
}

impl SharedWords {
    /// Makes one that begins with `words`.
    pub(crate) fn create(name: &str, len_bytes: usize, words: &[u64]) -> Result<Self, ShmError> {
        let failed = |step| move |source| ShmError::Kernel { step, len_bytes, source };
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let fd = memfd_create(name, flags).map_err(failed("create"))?;
        nix::unistd::ftruncate(&fd, len_bytes as i64).map_err(failed("size"))?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).map_err(failed("seal"))?;
        let shared = Self::map(fd)?;
        for (place, word) in shared.words().iter().zip(words) {
            place.store(*word, Relaxed);
        }
        Ok(shared)
    }

    /// Maps one that another process made.
    pub(crate) fn map(fd: OwnedFd) -> Result<Self, ShmError> {
        let len_bytes = sealed_len(&fd)?;
        let map = MmapOptions::new().len(len_bytes).populate().map_raw(&fd);
        let failed = |error| ShmError::Kernel { step: "map", len_bytes, source: error_number(&error) };
        Ok(Self { map: map.map_err(failed)?, fd })
    }

    /// A descriptor for the other process.
    pub(crate) fn fd(&self) -> Result<OwnedFd, ShmError> {
        reopen(&self.fd, OFlag::O_RDWR, self.map.len())
    }

    pub(crate) fn len(&self) -> usize {
        self.words().len()
    }

    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        &self.words()[at]
    }

    pub(crate) fn as_read(&self) -> ReadWords<'_> {
        ReadWords { words: self.words() }
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: as in `Segment::words`. The other process may punch a hole, which makes the words zero.
        unsafe { core::slice::from_raw_parts(self.map.as_ptr().cast(), self.map.len() / 8) }
    }
}

/// A descriptor of its own for the same memory, so that its file status flags are not shared.
fn reopen(fd: &OwnedFd, access: OFlag, len_bytes: usize) -> Result<OwnedFd, ShmError> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    open(path.as_str(), access | OFlag::O_CLOEXEC, Mode::empty()).map_err(|source| ShmError::Kernel {
        step: "reopen",
        len_bytes,
        source,
    })
}

/// The size of memory that cannot shrink under whoever maps it.
fn sealed_len(fd: impl AsFd) -> Result<usize, ShmError> {
    let failed = |len_bytes| move |source| ShmError::Kernel { step: "examine", len_bytes, source };
    let len_bytes = fstat(&fd).map_err(failed(0))?.st_size as usize;
    let seals = fcntl(&fd, FcntlArg::F_GET_SEALS).map_err(failed(len_bytes))?;
    if !SealFlag::from_bits_retain(seals).contains(SealFlag::F_SEAL_SHRINK) {
        return Err(ShmError::Foreign { kind: "shared-memory", why: "it is not sealed against shrinking" });
    }
    Ok(len_bytes)
}

fn error_number(error: &std::io::Error) -> nix::Error {
    nix::Error::from_raw(error.raw_os_error().unwrap_or(nix::libc::EINVAL))
}

/// Words that this process may write. One thread writes each record.
#[derive(Debug, Clone, Copy)]
pub struct WriteWords<'a> {
    words: &'a [AtomicU64],
}

impl<'a> WriteWords<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The words from `start` on, `len` of them.
    pub fn part(&self, start: usize, len: usize) -> Self {
        Self { words: &self.words[start..start + len] }
    }

    /// One word.
    pub fn word(&self, at: usize) -> &'a AtomicU64 {
        &self.words[at]
    }

    /// Reads `N` words back.
    pub(crate) fn array<const N: usize>(&self, at: usize) -> [u64; N] {
        ReadWords { words: self.words }.array(at)
    }

    /// Stores plain values one after another. They become visible with a later release store.
    pub fn store(&self, at: usize, values: &[u64]) {
        for (word, value) in self.words[at..at + values.len()].iter().zip(values) {
            word.store(*value, Relaxed);
        }
    }

    /// Writes a record under the sequence word at `at`, its fields following; the sequence becomes `even`.
    ///
    /// While the fields change it is `even - 1`, so that a reader sees that they do.
    pub(crate) fn write_sequenced(&self, at: usize, even: u64, values: &[u64]) {
        self.begin_sequenced(at, even);
        self.store(at + 1, values);
        self.word(at).store(even, Release);
    }

    /// Marks the record at `at` as being written. The fence keeps the stores that follow behind the mark.
    pub(crate) fn begin_sequenced(&self, at: usize, even: u64) {
        debug_assert!(even.is_multiple_of(2));
        self.word(at).store(even - 1, Relaxed);
        fence(Release);
    }

    /// Copies pixels, two to a word, to the words from `at` on. `pixels` has an even length.
    pub(crate) fn store_pixels(&self, at: usize, pixels: &[u32]) {
        let (pairs, rest) = pixels.as_chunks::<2>();
        debug_assert!(rest.is_empty());
        for (word, [first, second]) in self.words[at..at + pairs.len()].iter().zip(pairs) {
            word.store(u64::from(*first) | u64::from(*second) << 32, Relaxed);
        }
    }
}

/// Words that another process writes.
#[derive(Debug, Clone, Copy)]
pub struct ReadWords<'a> {
    words: &'a [AtomicU64],
}

impl<'a> ReadWords<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether `count` blocks of `each` words fit in from word `at` on.
    pub(crate) fn holds(&self, at: u64, count: u64, each: usize) -> bool {
        let len = count.checked_mul(each as u64);
        len.and_then(|len| at.checked_add(len)).is_some_and(|end| end <= self.len() as u64)
    }

    /// Reads one word; what was written before it is visible afterwards.
    pub fn load(&self, at: usize) -> u64 {
        self.words[at].load(Acquire)
    }

    /// Reads one word in the given order.
    pub(crate) fn load_as(&self, at: usize, order: Ordering) -> u64 {
        self.words[at].load(order)
    }

    /// Reads `N` words without regard to a writer: for what never changes once it is visible.
    pub fn array<const N: usize>(&self, at: usize) -> [u64; N] {
        let words = &self.words[at..at + N];
        core::array::from_fn(|index| words[index].load(Relaxed))
    }

    /// Reads the record under the sequence word at `at`. `None` if it is being written, or was meanwhile.
    pub(crate) fn read_sequenced<const N: usize>(&self, at: usize) -> Option<(u64, [u64; N])> {
        let before = self.load(at);
        if !before.is_multiple_of(2) {
            return None;
        }
        let values = self.array(at + 1);
        self.unchanged_since(at, before).then_some((before, values))
    }

    /// Whether the sequence word at `at` is still `before`, so that what was read since is whole.
    pub(crate) fn unchanged_since(&self, at: usize, before: u64) -> bool {
        // The fence keeps the loads of the record in front of the second load of its sequence.
        fence(Acquire);
        self.words[at].load(Relaxed) == before
    }

    /// The pixels in the words from `at` on, in place.
    ///
    /// # Safety
    ///
    /// Nobody may write these words for as long as the slice lives.
    pub(crate) unsafe fn pixels(&self, at: usize, len: usize) -> &'a [u32] {
        let words = &self.words[at..at + len.div_ceil(2)];
        // SAFETY: the words are in bounds and hold two pixels each; that nobody writes them is the caller's promise.
        unsafe { core::slice::from_raw_parts(words.as_ptr().cast(), len) }
    }

    /// Copies words out as pixels, two from each.
    pub(crate) fn load_pixels(&self, at: usize, pixels: &mut [u32]) {
        let (pairs, rest) = pixels.as_chunks_mut::<2>();
        debug_assert!(rest.is_empty());
        for (word, pair) in self.words[at..at + pairs.len()].iter().zip(pairs) {
            let value = word.load(Relaxed);
            *pair = [value as u32, (value >> 32) as u32];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the machine has, a segment comes, says what pages it has, and is zero.
    #[test]
    fn a_segment_says_what_pages_it_has() {
        for (len_bytes, huge) in [(100, false), (100, true), (5 << 20, true)] {
            let segment = Segment::create("test", len_bytes, huge).unwrap();
            assert!([SMALL_PAGE_BYTES, HUGE_PAGE_BYTES].contains(&segment.page_bytes()));
            assert!(segment.words().len() * 8 >= len_bytes);
            assert!(
                (huge || segment.page_bytes() == SMALL_PAGE_BYTES)
                    && (segment.words().len() * 8).is_multiple_of(4096)
            );
            assert_eq!(segment.words().word(segment.words().len() - 1).load(Relaxed), 0);
            println!("{len_bytes} bytes, huge: {huge}: {} B pages", segment.page_bytes());
        }
    }
}
