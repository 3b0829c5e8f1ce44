//! Receive buffers that a ring's sockets share: the kernel takes one for each piece of data, and gets it back.
//!
//! The memory belongs to the ring for its life. All unsafe code that touches it is here. What holds: the kernel writes
//! only to buffers that were provided and that it has not reported; this process reads only one that was reported
//! and was not provided again.

use io_uring::{Submitter, types::BufRingEntry};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering::*};

/// By which number the kernel knows the buffers of a ring. Each ring has one set.
pub(crate) const GROUP: u16 = 0;
pub(crate) const HUGE_PAGE_BYTES: usize = 2 << 20;
const SMALL_PAGE_BYTES: usize = 4096;
/// Of huge pages, of the size that is usual, and all there at once.
const SET_ASIDE: MapFlags = MapFlags::MAP_HUGETLB.union(MapFlags::MAP_HUGE_2MB).union(MapFlags::MAP_POPULATE);

/// How many buffers there are to be, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BufferPlan {
    /// A power of two.
    pub(crate) count: u16,
    pub(crate) each_bytes: usize,
    /// Whether 2 MiB pages are tried.
    pub(crate) huge_pages: bool,
}

/// The buffers, and the queue through which the kernel gets them.
pub(crate) struct Buffers {
    /// Entries that name buffers, in a ring. The tail lies in a field of the first that is not used otherwise.
    queue: Memory,
    bytes: Memory,
    plan: BufferPlan,
    /// How many were provided so far, modulo 2^16.
    tail: u16,
    /// Receives that the kernel has not ended: until then it may take a buffer.
    armed: u32,
}

impl Buffers {
    /// Takes the memory, all of it provided, and tells the kernel of it.
    pub(super) fn register(plan: BufferPlan, submitter: &Submitter<'_>) -> io::Result<Self> {
        debug_assert!(plan.count.is_power_of_two());
        let queue = Memory::take(usize::from(plan.count) * size_of::<BufRingEntry>(), false)?;
        let bytes = Memory::take(usize::from(plan.count) * plan.each_bytes, plan.huge_pages)?;
        let address = queue.at.as_ptr() as u64;
        // SAFETY: the queue is page-aligned, has room for that many entries, and is not given back before the ring is
        // gone, or never if the kernel may still use it (`Drop`).
        unsafe { submitter.register_buf_ring_with_flags(address, plan.count, GROUP, 0)? };
        let mut buffers = Self { queue, bytes, plan, tail: 0, armed: 0 };
        (0..plan.count).for_each(|id| buffers.put(id));
        buffers.publish();
        Ok(buffers)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        usize::from(self.plan.count)
    }

    /// The size of each.
    pub(crate) fn each_bytes(&self) -> usize {
        self.plan.each_bytes
    }

    /// Whether they lie in 2 MiB pages.
    pub(crate) fn is_huge(&self) -> bool {
        self.bytes.is_huge
    }

    /// The first `len` bytes of a buffer that the kernel has reported. At most all of it.
    pub(super) fn bytes(&self, id: u16, len: usize) -> &[u8] {
        let id = usize::from(id) & (self.count() - 1);
        let len = len.min(self.plan.each_bytes);
        // SAFETY: `id` is below the count, so the range lies inside the memory, which is initialised (zeroed pages).
        // The kernel does not write to a buffer that it has reported until it is provided again, which takes `&mut`.
        unsafe { std::slice::from_raw_parts(self.bytes.at.as_ptr().add(id * self.plan.each_bytes), len) }
    }

    /// Gives a buffer back to the kernel.
    pub(super) fn give_back(&mut self, id: u16) {
        self.put(id & (self.plan.count - 1));
        self.publish();
    }

    pub(super) fn receive_begins(&mut self) {
        self.armed += 1;
    }

    pub(super) fn receive_ended(&mut self) {
        self.armed = self.armed.saturating_sub(1);
    }

    fn put(&mut self, id: u16) {
        let place = usize::from(self.tail & (self.plan.count - 1));
        // SAFETY: `place` is below the count. The kernel reads an entry only once the tail is past it.
        let entry = unsafe { &mut *self.queue.at.as_ptr().cast::<BufRingEntry>().add(place) };
        entry.set_addr(self.bytes.at.as_ptr() as u64 + u64::from(id) * self.plan.each_bytes as u64);
        entry.set_len(self.plan.each_bytes as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&mut self) {
        // SAFETY: the queue begins with an entry, which is initialised; the tail is aligned and lives as long as it.
        let tail =
            unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.queue.at.as_ptr().cast()).cast_mut()) };
        tail.store(self.tail, Release);
    }
}

impl Drop for Buffers {
    /// Gives nothing back that the kernel may still write to: a ring that is closed ends its operations later.
    fn drop(&mut self) {
        if self.armed > 0 {
            self.queue.is_kept = true;
            self.bytes.is_kept = true;
        }
    }
}

/// Pages of this process alone.
pub(super) struct Memory {
    /// Where it is to be used from, and what was mapped for it.
    at: NonNull<u8>,
    mapped: NonNull<c_void>,
    mapped_len: usize,
    is_huge: bool,
    /// Not to be given back.
    is_kept: bool,
}

impl Memory {
    /// With `huge`, tries the 2 MiB pages that the administrator has set aside, then what the kernel can put together.
    pub(super) fn take(len: usize, huge: bool) -> io::Result<Self> {
        if huge && let Ok(memory) = Self::map(len.next_multiple_of(HUGE_PAGE_BYTES), SET_ASIDE) {
            return Ok(Self { is_huge: true, ..memory });
        }
        if huge && let Ok(memory) = Self::put_together(len.next_multiple_of(HUGE_PAGE_BYTES)) {
            return Ok(memory);
        }
        Self::map(len.next_multiple_of(SMALL_PAGE_BYTES), MapFlags::MAP_POPULATE)
    }

    /// Where it is to be used from.
    pub(super) fn at(&self) -> NonNull<u8> {
        self.at
    }

    /// Whether it lies in 2 MiB pages.
    pub(super) fn is_huge(&self) -> bool {
        self.is_huge
    }

    /// Has it never be given back.
    pub(super) fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Memory that the kernel maps by 2 MiB pages, or an error.
    fn put_together(len: usize) -> io::Result<Self> {
        let mut memory = Self::map(len + HUGE_PAGE_BYTES, MapFlags::empty())?;
        let before = memory.mapped.as_ptr().cast::<u8>().align_offset(HUGE_PAGE_BYTES);
        // SAFETY: less than a huge page further, and one more than `len` was mapped.
        memory.at = unsafe { memory.mapped.cast::<u8>().add(before) };
        for advice in [MmapAdvise::MADV_HUGEPAGE, MmapAdvise::MADV_POPULATE_WRITE] {
            // SAFETY: the range lies in the mapping, which nothing else uses yet.
            unsafe { madvise(memory.at.cast(), len, advice)? };
        }
        memory.is_huge = is_huge(memory.at, len);
        if memory.is_huge { Ok(memory) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    fn map(len: usize, flags: MapFlags) -> io::Result<Self> {
        let size = NonZeroUsize::new(len).ok_or(io::ErrorKind::InvalidInput)?;
        let flags = flags | MapFlags::MAP_PRIVATE;
        // SAFETY: a new mapping at an address that the kernel chooses harms nobody.
        let at = unsafe { mmap_anonymous(None, size, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags)? };
        let memory = Self { at: at.cast(), mapped: at, mapped_len: len, is_huge: false, is_kept: false };
        // A child must not have it: copying on write would move our pages from under the kernel.
        // SAFETY: the range is the mapping just made.
        unsafe { madvise(at, len, MmapAdvise::MADV_DONTFORK)? };
        Ok(memory)
    }
}

/// Whether the kernel has mapped all of it by 2 MiB pages.
fn is_huge(at: NonNull<u8>, len: usize) -> bool {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let begin = format!("{:x}-", at.as_ptr() as usize);
    let own = smaps.split_once(&begin).map_or("", |(_, own)| own);
    let huge = own.lines().find_map(|line| line.strip_prefix("AnonHugePages:"));
    let kib = huge.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse::<usize>().ok());
    kib.is_some_and(|kib| kib << 10 >= len)
}

impl Drop for Memory {
    fn drop(&mut self) {
        if !self.is_kept {
            // SAFETY: the mapping was made here, nothing borrows it any more, and the kernel does not use it.
            let _ = unsafe { munmap(self.mapped, self.mapped_len) };
        }
    }
}
