//! From the hot thread to the journal thread: a bounded queue of records, which is also the spill while the disk is
//! slow or full.
//!
//! What holds: [`Tap::push`] never waits, never allocates and never makes a system call. What finds no room is counted,
//! and told by a [`Kind::Gap`] record as soon as there is room again, in its place among the others. A record is seen
//! whole or not at all.

use crate::block::u64_at;
use crate::record::{HEADER_BYTES, Header, Kind, MAX_PAYLOAD_BYTES, padded};
use rtrb::{Consumer, Producer};
use std::mem::MaybeUninit;

/// How long the payload of a gap is.
pub const LOST_BYTES: usize = 40;

/// So much is given back at once, if the queue is not small.
const GIVE_BACK_BYTES: usize = 64 << 10;

/// The hot thread's end.
#[derive(Debug)]
pub struct Tap {
    queue: Producer<u8>,
    accepted: u64,
    lost: Lost,
    total_lost: u64,
    generation: u32,
}

/// The journal thread's end.
#[derive(Debug)]
pub struct Drain {
    queue: Consumer<u8>,
    front: Option<Front>,
    /// Bytes that were read and are not given back yet: giving back costs both threads more than reading.
    read_bytes: usize,
}

/// The record in hand: how much of its payload is still in the queue, and how many zeros behind it.
#[derive(Debug)]
struct Front {
    header: Header,
    left: usize,
    padding: usize,
}

/// Records that found no room: the payload of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// How many.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Whose they were: bit n for feed n; the highest for all from 63 on.
    pub feeds: u64,
    /// When the first was received, CLOCK_REALTIME in ns.
    pub from_ns: u64,
    /// When the last was received.
    pub until_ns: u64,
}

/// A queue of so many bytes. All of it is touched, so that no page of it is missing later.
pub fn queue(bytes: usize, generation: u32) -> (Tap, Drain) {
    let (mut queue, mut drain) = rtrb::RingBuffer::<u8>::new(bytes.max(padded(LOST_BYTES)));
    if let Ok(chunk) = queue.write_chunk(queue.buffer().capacity()) {
        chunk.commit_all(); // Filled with zeros when it was made.
    }
    if let Ok(chunk) = drain.read_chunk(drain.slots()) {
        chunk.commit_all();
    }
    let tap = Tap { queue, accepted: 0, lost: Lost::default(), total_lost: 0, generation };
    (tap, Drain { queue: drain, front: None, read_bytes: 0 })
}

impl Tap {
    /// Takes a record in, whose payload of `len` bytes `write` puts, piece by piece. False if there is no room.
    /// `header.generation` and `header.flags` are filled in here.
    pub fn push(&mut self, header: Header, len: usize, write: impl FnOnce(&mut dyn FnMut(&[u8]))) -> bool {
        let header = Header { generation: self.generation, flags: 0, ..header };
        let gap_bytes = if self.lost.records > 0 { padded(LOST_BYTES) } else { 0 };
        if len > MAX_PAYLOAD_BYTES || !self.has_room(gap_bytes + padded(len)) {
            self.lose(&header, len);
            return false;
        }
        if gap_bytes > 0 {
            let lost = std::mem::take(&mut self.lost);
            let header = Header { kind: Kind::Gap, line: 0, feed: 0, ..header };
            self.put(header, LOST_BYTES, |put| put(&lost.encode()));
        }
        self.put(header, len, write);
        true
    }

    /// How many records were accepted: each has its sequence, counted from the run's first.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// How many records were lost since they found no room.
    pub fn lost(&self) -> u64 {
        self.total_lost
    }

    /// Which configuration all further records are of.
    pub fn set_generation(&mut self, generation: u32) {
        self.generation = generation;
    }

    /// How many bytes wait.
    pub fn waiting_bytes(&self) -> usize {
        self.queue.buffer().capacity() - self.queue.slots()
    }

    /// How many bytes may wait.
    pub fn capacity_bytes(&self) -> usize {
        self.queue.buffer().capacity()
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.queue.cached_slots() >= bytes || self.queue.slots() >= bytes
    }

    /// Puts a record where there is room for it, which was looked for. It is shown as a whole, by one store.
    fn put(&mut self, header: Header, len: usize, write: impl FnOnce(&mut dyn FnMut(&[u8]))) {
        let Ok(mut chunk) = self.queue.write_chunk_uninit(padded(len)) else { return };
        let (first, second) = chunk.as_mut_slices();
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            let bytes = &bytes[..bytes.len().min(HEADER_BYTES + len - at)];
            let begin = at.min(first.len());
            let here = bytes.len().min(first.len() - begin);
            first[begin..begin + here].write_copy_of_slice(&bytes[..here]);
            let rest = &bytes[here..];
            second[(at + here).saturating_sub(first.len())..][..rest.len()].write_copy_of_slice(rest);
            at += bytes.len();
        };
        put(&header.encode(len));
        write(&mut put);
        // The padding, and whatever the caller has promised and did not put.
        let begin = at.min(first.len());
        second[at - begin..].fill(MaybeUninit::new(0));
        first[begin..].fill(MaybeUninit::new(0));
        // SAFETY: all before `at` was put, in order; all from there on are zeros.
        unsafe { chunk.commit_all() };
        self.accepted += 1;
    }

    fn lose(&mut self, header: &Header, len: usize) {
        let (lost, real_ns) = (&mut self.lost, header.stamp.real_ns);
        if lost.records == 0 {
            lost.from_ns = real_ns;
        }
        lost.records += 1;
        lost.bytes += len as u64;
        lost.feeds |= 1 << header.feed.min(63);
        lost.until_ns = real_ns;
        self.total_lost += 1;
    }
}

impl Drain {
    /// The record in hand, or the next one: its header, and how much of its payload is not taken yet.
    pub fn front(&mut self) -> Option<(Header, usize)> {
        if self.front.is_none() {
            let mut bytes = [0; HEADER_BYTES];
            if !self.copy(&mut bytes) {
                self.give_back();
                return None;
            }
            // The other end encodes known kinds only, and shows a record as a whole.
            let (header, len) = Header::decode(&bytes)?;
            self.read_bytes += HEADER_BYTES;
            self.front = Some(Front { header, left: len, padding: len.next_multiple_of(8) - len });
        }
        self.front.as_ref().map(|front| (front.header, front.left))
    }

    /// Takes the next bytes of the payload in hand: as many as `out` has, which is at most what [`Drain::front`] told.
    pub fn take(&mut self, out: &mut [u8]) {
        let bytes = self.front.as_ref().map_or(0, |front| out.len().min(front.left));
        if self.copy(&mut out[..bytes])
            && let Some(front) = &mut self.front
        {
            front.left -= bytes;
            self.pass_over(bytes);
        }
    }

    /// Lets go of the record in hand, taken or not: the next one is the front then.
    pub fn pass(&mut self) {
        if let Some(front) = self.front.take() {
            self.pass_over(front.left + front.padding);
        }
    }

    /// Takes whole records as they lie here, which is how they lie in a block: as many as wait, `out` has room for and
    /// `agrees` says yes to, which is asked of each. None while a record is in hand. Returns how many bytes they take;
    /// what is behind these in `out` is worth nothing then.
    pub fn take_run(&mut self, out: &mut [u8], mut agrees: impl FnMut(&Header) -> bool) -> usize {
        let bytes = out.len().min(self.waiting_bytes());
        let out = &mut out[..bytes];
        // One copy of all, and then a walk through what is near, are cheaper than a look at each record here first.
        if self.front.is_some() || !self.copy(out) {
            return 0;
        }
        let mut taken = 0;
        while let Some(head) = out[taken..].first_chunk()
            && let Some((header, len)) = Header::decode(head)
            && padded(len) <= bytes - taken
            && agrees(&header)
        {
            taken += padded(len);
        }
        self.pass_over(taken);
        taken
    }

    /// How many bytes wait, those of a record in hand included.
    pub fn waiting_bytes(&self) -> usize {
        self.queue.slots() - self.read_bytes
    }

    /// How many bytes may wait.
    pub fn capacity_bytes(&self) -> usize {
        self.queue.buffer().capacity()
    }

    /// Whether no record waits.
    pub fn is_empty(&self) -> bool {
        self.front.is_none() && self.waiting_bytes() < HEADER_BYTES
    }

    /// Copies the next bytes that were not read. False if there are not so many.
    fn copy(&mut self, out: &mut [u8]) -> bool {
        let at = self.read_bytes;
        let Ok(chunk) = self.queue.read_chunk(at + out.len()) else { return false };
        let (first, second) = chunk.as_slices();
        let begin = at.min(first.len());
        let (here, rest) = out.split_at_mut(out.len().min(first.len() - begin));
        here.copy_from_slice(&first[begin..][..here.len()]);
        rest.copy_from_slice(&second[(at + here.len()).saturating_sub(first.len())..][..rest.len()]);
        true
    }

    fn pass_over(&mut self, bytes: usize) {
        self.read_bytes += bytes;
        if self.read_bytes >= GIVE_BACK_BYTES.min(self.capacity_bytes() / 8) {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        if let Ok(chunk) = self.queue.read_chunk(std::mem::take(&mut self.read_bytes)) {
            chunk.commit_all();
        }
    }
}

impl Lost {
    fn encode(&self) -> [u8; LOST_BYTES] {
        let mut bytes = [0; LOST_BYTES];
        let words = [self.records, self.bytes, self.feeds, self.from_ns, self.until_ns];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads the payload of a gap.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let word = |place: usize| (payload.len() == LOST_BYTES).then(|| u64_at(payload, place * 8));
        Some(Self {
            records: word(0)?,
            bytes: word(1)?,
            feeds: word(2)?,
            from_ns: word(3)?,
            until_ns: word(4)?,
        })
    }

    /// Whether records of this feed are among them, or may be.
    pub fn concerns(&self, feed: usize) -> bool {
        self.feeds >> feed.min(63) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Stamp;
    use proptest::prelude::*;

    fn header(feed: u16) -> Header {
        let stamp = Stamp { real_ns: 100 + u64::from(feed), mono_ns: 7 };
        Header { kind: Kind::Frame, flags: 0, line: 1, feed, generation: 0, stamp }
    }

    fn push(tap: &mut Tap, feed: u16, payload: &[u8]) -> bool {
        tap.push(header(feed), payload.len(), |put| payload.chunks(5).for_each(put))
    }

    fn pop(drain: &mut Drain) -> Option<(Header, Vec<u8>)> {
        let (header, len) = drain.front()?;
        let mut payload = vec![0; len];
        let half = len / 2;
        drain.take(&mut payload[..half]);
        assert_eq!(drain.front().unwrap().1, len - half);
        drain.take(&mut payload[half..]);
        drain.pass();
        Some((header, payload))
    }

    #[test]
    fn what_finds_no_room_is_told_in_its_place() {
        let (mut tap, mut drain) = queue(256, 3);
        assert!(push(&mut tap, 0, &[1; 100]));
        assert!(!push(&mut tap, 2, &[2; 200]));
        assert!(!push(&mut tap, 70, &[3; 200]));
        assert_eq!((tap.accepted(), tap.lost()), (1, 2));
        assert_eq!(pop(&mut drain).unwrap().1, [1; 100]);
        assert!(push(&mut tap, 1, &[4; 8]));
        let (gap, payload) = pop(&mut drain).unwrap();
        assert_eq!((gap.kind, gap.generation), (Kind::Gap, 3));
        let lost = Lost { records: 2, bytes: 400, feeds: 1 << 63 | 1 << 2, from_ns: 102, until_ns: 170 };
        assert_eq!(Lost::decode(&payload), Some(lost));
        assert!(lost.concerns(2) && lost.concerns(90) && !lost.concerns(1));
        assert_eq!(pop(&mut drain).unwrap().1, [4; 8]);
        assert_eq!(tap.accepted(), 3);
        assert!(pop(&mut drain).is_none() && drain.is_empty());
    }

    #[test]
    fn a_promise_that_is_not_kept_is_zeros() {
        let (mut tap, mut drain) = queue(256, 1);
        assert!(push(&mut tap, 0, &[0xee; 220])); // It was there before: the queue goes round.
        assert!(pop(&mut drain).is_some() && pop(&mut drain).is_none());
        assert!(tap.push(header(0), 50, |put| put(b"short")));
        assert!(tap.push(header(1), 3, |put| put(b"far too long")));
        let mut payload = [0; 50];
        payload[..5].copy_from_slice(b"short");
        assert_eq!(pop(&mut drain).unwrap().1, payload);
        assert!(tap.push(header(2), 1, |put| put(b"x")));
        assert_eq!(pop(&mut drain).unwrap().0.feed, 1);
        assert_eq!(pop(&mut drain).unwrap(), (Header { generation: 1, ..header(2) }, b"x".to_vec()));
    }

    /// Takes what waits, up to so many bytes of it in a run, but for records of feed 0; then one more by itself.
    fn pop_some(drain: &mut Drain, room: usize) -> Vec<(Header, Vec<u8>)> {
        let (mut out, mut agreed) = (vec![0xee; room], Vec::new());
        let taken = drain.take_run(&mut out, |header| {
            let agrees = header.feed > 0;
            agreed.extend(agrees.then_some(*header));
            agrees
        });
        let (mut got, mut at) = (Vec::new(), 0);
        while at < taken {
            let (header, len) = Header::decode(out[at..].first_chunk().unwrap()).unwrap();
            let (payload, padding) = out[at + HEADER_BYTES..at + padded(len)].split_at(len);
            assert!(padding.iter().all(|byte| *byte == 0));
            got.push((header, payload.to_vec()));
            at += padded(len);
        }
        assert_eq!((at, got.iter().map(|(header, _)| *header).collect::<Vec<_>>()), (taken, agreed));
        if let Some((header, len)) = drain.front() {
            assert!(header.feed == 0 || padded(len) > room - taken, "it should be in the run");
            assert_eq!(drain.take_run(&mut [0; 2_000], |_| true), 0, "one is in hand");
            got.extend(pop(drain));
        }
        got
    }

    proptest! {
        #[test]
        fn records_come_out_as_they_went_in(
            steps in prop::collection::vec((0..300usize, 0..5u16, prop::option::of(0..1_200usize)), 1..200),
        ) {
            let (mut tap, mut drain) = queue(1_000, 1);
            let (mut expected, mut got, mut lost) = (Vec::new(), Vec::new(), 0);
            let mut take = |drain: &mut Drain, room| loop {
                let some = pop_some(drain, room);
                if some.is_empty() {
                    break;
                }
                for (header, payload) in some {
                    match header.kind {
                        Kind::Gap => lost += Lost::decode(&payload).unwrap().records,
                        _ => got.push((header.feed, payload)),
                    }
                }
            };
            for (place, (size, feed, room)) in steps.into_iter().enumerate() {
                let payload = vec![place as u8 | 1; size];
                if push(&mut tap, feed, &payload) {
                    expected.push((feed, payload));
                }
                if let Some(room) = room {
                    take(&mut drain, room);
                }
            }
            take(&mut drain, 0);
            prop_assert!(drain.is_empty() && drain.waiting_bytes() == 0);
            prop_assert!(push(&mut tap, 1, b""));
            take(&mut drain, 1_000);
            expected.push((1, Vec::new()));
            prop_assert_eq!(got, expected);
            prop_assert_eq!(lost, tap.lost());
        }
    }
}
