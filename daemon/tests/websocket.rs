//! The deframer against RFC 6455: tungstenite as oracle, a recorded stream cut at every byte, and its limits. The
//! Autobahn suite's cases are in `autobahn.rs`.

mod common {
    pub(crate) mod client;
    pub(crate) mod wire;
}

use chartd::ingest::ws::{Deframer, Event, Framer, WsError};
use common::client::Seen::{self, Close, Ping, Pong, Refused};
use common::client::{Client, FULL, message, ours};
use common::wire::{BINARY, CLOSE, CONTINUATION, FIN, PING, TEXT, close, frame, header, masked, piece};
use proptest::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

const PONG: u8 = 10;
/// What it takes in comparisons with the oracle.
const LIMIT: usize = 70_000;

/// A stream for the oracle: gives a chunk at a time and takes whatever is written.
#[derive(Default)]
struct Script(VecDeque<Vec<u8>>);

impl Read for Script {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(chunk) = self.0.front_mut() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let len = chunk.len().min(into.len());
        into[..len].copy_from_slice(&chunk[..len]);
        chunk.drain(..len);
        if chunk.is_empty() {
            self.0.pop_front();
        }
        Ok(len)
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tungstenite as a client with our limits.
struct Oracle {
    socket: WebSocket<Script>,
    seen: Vec<Seen>,
}

impl Oracle {
    fn new(limit: usize) -> Self {
        let limits = WebSocketConfig::default().max_message_size(Some(limit)).max_frame_size(Some(limit));
        let socket = WebSocket::from_raw_socket(Script::default(), Role::Client, Some(limits));
        Self { socket, seen: Vec::new() }
    }

    fn over(&self) -> bool {
        matches!(self.seen.last(), Some(Close(_) | Refused(_)))
    }

    fn receive(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.socket.get_mut().0.push_back(bytes.to_vec());
        }
        while !self.over() && self.take() {}
    }

    fn take(&mut self) -> bool {
        let seen = match self.socket.read() {
            Ok(Message::Text(text)) => message(text.as_bytes()),
            Ok(Message::Binary(bytes)) => message(bytes),
            Ok(Message::Ping(bytes)) => Ping(bytes.to_vec()),
            Ok(Message::Pong(_)) => Pong,
            Ok(Message::Close(None)) => Close(1005),
            // How it says that the code may not be sent.
            Ok(Message::Close(Some(frame))) if frame.reason.as_str() == "Protocol violation" => Refused(1002),
            Ok(Message::Close(Some(frame))) => Close(frame.code.into()),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(Error::Protocol(_)) => Refused(1002),
            Err(Error::Capacity(_)) => Refused(1009),
            Err(Error::Utf8(_)) => Refused(1007),
            other => panic!("the oracle said {other:?}"),
        };
        self.seen.push(seen);
        true
    }
}

/// Cuts a stream into chunks of the given lengths, over and over.
fn cut<'a>(mut bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for len in lengths.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (chunk, rest) = bytes.split_at((*len).clamp(1, bytes.len()));
        chunks.push(chunk);
        bytes = rest;
    }
    chunks
}

// What may be said of a stream, for proptest.

fn control() -> impl Strategy<Value = Vec<u8>> {
    let payload = || {
        prop_oneof![prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(any::<u8>(), 124..=125),]
    };
    prop_oneof![
        payload().prop_map(|payload| frame(PING, &payload)),
        payload().prop_map(|payload| frame(PONG, &payload)),
    ]
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => 0usize..300,
        4 => 124usize..=128,
        1 => 65_534usize..=65_537,
        1 => LIMIT - 1..=LIMIT + 1,
    ]
}

/// Text of `len` bytes with characters of all lengths, or any bytes.
fn content(text: bool, len: usize, seed: u8) -> Vec<u8> {
    if !text {
        return (0..len).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect();
    }
    let wide: Vec<char> = "aé€😀{\"".chars().cycle().skip(usize::from(seed % 6)).take(6).collect();
    let mut string = String::with_capacity(len);
    for char in wide.iter().cycle() {
        if string.len() + char.len_utf8() > len {
            break;
        }
        string.push(*char);
    }
    string.extend(std::iter::repeat_n('x', len - string.len()));
    string.into_bytes()
}

/// A message, whole or in pieces with control frames between them.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let between = prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(control())), 0..4);
    (any::<bool>(), length(), any::<u8>(), between).prop_map(|(text, len, seed, between)| {
        let payload = content(text, len, seed);
        let mut cuts: Vec<_> =
            between.into_iter().map(|(at, control)| (at.index(len + 1), control)).collect();
        cuts.sort_by_key(|(at, _)| *at);
        let (mut bytes, mut from, mut opcode) = (Vec::new(), 0, if text { TEXT } else { BINARY });
        for (at, control) in cuts {
            bytes.extend(piece(opcode, &payload[from..at]));
            bytes.extend(control.unwrap_or_default());
            (from, opcode) = (at, CONTINUATION);
        }
        bytes.extend(piece(FIN | opcode, &payload[from..]));
        bytes
    })
}

/// How a stream may end: a close frame, or one fault.
fn ending() -> impl Strategy<Value = Vec<u8>> {
    // Tungstenite refuses 1014, which IANA has registered since; RFC 6455 §7.4.2 leaves room for that.
    let codes = any::<u16>().prop_filter("see above", |code| *code != 1014);
    let near = (990u16..1020).prop_filter("see above", |code| *code != 1014);
    prop_oneof![
        Just(Vec::new()),
        Just(frame(CLOSE, &[])),
        (prop_oneof![codes, near], ".{0,30}").prop_map(|(code, reason)| close(code, reason.as_bytes())),
        Just(frame(CLOSE, &[3])),
        Just(close(1000, b"\xc3\x28")),
        (1u8..8, 0u8..3).prop_map(|(bits, opcode)| piece(FIN | bits << 4 | opcode, b"reserved")),
        (prop_oneof![3u8..8, 11u8..16], any::<bool>())
            .prop_map(|(opcode, fin)| { piece(if fin { FIN } else { 0 } | opcode, b"reserved") }),
        (8u8..11).prop_map(|opcode| piece(opcode, b"not whole")),
        (8u8..11).prop_map(|opcode| frame(opcode, &[0; 126])),
        any::<bool>().prop_map(|fin| piece(if fin { FIN } else { 0 }, b"of nothing")),
        Just([piece(TEXT, b"a"), frame(TEXT, b"b")].concat()),
        Just(frame(TEXT, b"\xed\xa0\x80")),
        Just(masked(TEXT, b"masked")),
        Just(frame(BINARY, &[0; LIMIT + 1])),
        Just([piece(BINARY, &[0; LIMIT]), piece(FIN, &[0])].concat()),
    ]
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    let each = prop_oneof![4 => 1usize..40, 1 => 1usize..200_000];
    prop_oneof![4 => prop::collection::vec(each, 1..12), 1 => Just(vec![1])]
}

/// A byte set, bits flipped, a byte taken out or put in.
fn damage(bytes: &mut Vec<u8>, how: u8, at: prop::sample::Index, value: u8) {
    if bytes.is_empty() {
        return;
    }
    let at = at.index(bytes.len());
    match how {
        0 => bytes[at] = value,
        1 => bytes[at] ^= 1 << (value & 7),
        2 => drop(bytes.remove(at)),
        _ => bytes.insert(at, value),
    }
}

/// Holds what both made of a damaged stream against each other. Where they may differ:
///
/// - We refuse a frame by its header; the oracle waits for the payload (so it is given one) and then refuses.
/// - We refuse lengths that are not in the shortest form, as RFC 6455 §5.2 says; the oracle takes them.
/// - Text is checked when the message is whole. RFC 6455 §8.1 wants no more; the oracle refuses a bad piece at once.
/// - We take the close code 1014, which IANA registered after the RFC; the oracle refuses it.
fn agree(client: &Client, oracle: &mut Oracle) -> Result<(), TestCaseError> {
    let both = client.seen.len().min(oracle.seen.len());
    match (client.seen.last(), oracle.seen.last()) {
        (Some(Refused(_)), _) if client.error == Some(WsError::BadLength) => {
            let before = (client.seen.len() - 1).min(both);
            prop_assert_eq!(&client.seen[..before], &oracle.seen[..before]);
        }
        (Some(Close(1014)), Some(Refused(1002))) => {
            prop_assert_eq!(&client.seen[..both - 1], &oracle.seen[..both - 1]);
        }
        (_, Some(Refused(1007))) => {
            let before = oracle.seen.len() - 1;
            prop_assert!(client.seen.len() >= before);
            prop_assert_eq!(&client.seen[..before], &oracle.seen[..before]);
            let taken = client.seen[before..].iter().any(|seen| matches!(seen, Seen::Message(_)));
            prop_assert!(!taken, "a message that the oracle refuses was taken");
        }
        (Some(Refused(_)), last) if !matches!(last, Some(Refused(_))) => {
            let before = oracle.seen.len();
            oracle.receive(&vec![0; LIMIT + 64]);
            let refused = matches!(oracle.seen.get(before), Some(Refused(_)));
            prop_assert!(refused, "refused what the oracle takes: {:?}", client.error);
            prop_assert_eq!(&client.seen[..client.seen.len() - 1], &oracle.seen[..before]);
        }
        (Some(Refused(_)), Some(Refused(_))) => {
            prop_assert_eq!(&client.seen[..client.seen.len() - 1], &oracle.seen[..oracle.seen.len() - 1]);
        }
        _ => prop_assert_eq!(&client.seen, &oracle.seen),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    /// Whatever a server says by the rules, and at most one fault at the end, we see as tungstenite sees it.
    #[test]
    fn says_what_tungstenite_says(
        frames in prop::collection::vec(prop_oneof![2 => data(), 1 => control()], 0..8),
        ending in ending(),
        lengths in lengths(),
    ) {
        let bytes = [frames.concat(), ending].concat();
        let mut oracle = Oracle::new(LIMIT);
        oracle.receive(&bytes);
        prop_assert_eq!(ours(LIMIT, cut(&bytes, &lengths)), oracle.seen);
    }

    /// Damaged streams neither bring us down nor get past us where tungstenite refuses; nor the other way round.
    #[test]
    fn refuses_what_tungstenite_refuses(
        frames in prop::collection::vec(prop_oneof![2 => small_data(), 1 => control()], 1..8),
        ending in ending(),
        wounds in prop::collection::vec((0u8..4, any::<prop::sample::Index>(), any::<u8>()), 1..6),
        lengths in lengths(),
    ) {
        let mut bytes = frames.concat();
        if ending.len() < 1000 {
            bytes.extend(ending);
        }
        wounds.into_iter().for_each(|(how, at, value)| damage(&mut bytes, how, at, value));
        let (mut client, mut oracle) = (Client::new(LIMIT), Oracle::new(LIMIT));
        for chunk in cut(&bytes, &lengths) {
            client.receive(chunk);
        }
        oracle.receive(&bytes);
        agree(&client, &mut oracle)?;
    }
}

/// Messages whose headers are much of them, so that damage hits those.
fn small_data() -> impl Strategy<Value = Vec<u8>> {
    data().prop_filter("short", |bytes| bytes.len() < 600)
}

// Beyond the suite.

/// A few seconds of a venue's stream: trades, one in pieces, a ping between them, a farewell.
fn short_stream() -> (Vec<u8>, Vec<Seen>) {
    let trade = |id| format!(r#"{{"e":"trade","s":"BTCUSDT","t":{id},"p":"100.5","q":"0.1"}}"#).into_bytes();
    let long = [trade(3), vec![b' '; 90]].concat();
    let bytes = [
        frame(TEXT, &trade(1)),
        frame(PING, b"1700000000"),
        piece(TEXT, &trade(2)[..9]),
        frame(PING, b""),
        piece(CONTINUATION, b""),
        frame(PONG, b"x"),
        piece(FIN, &trade(2)[9..]),
        frame(TEXT, &long),
        close(1001, b"going away"),
    ];
    let pings = [Ping(b"1700000000".into()), Ping(vec![])];
    let [first, second] = pings;
    let expected =
        vec![message(trade(1)), first, second, Pong, message(trade(2)), message(long), Close(1001)];
    (bytes.concat(), expected)
}

/// The texts of the first frames of a recorded stream, if there are any: in the folder beside the repository, or beside
/// one that it lies in.
fn recorded(count: usize) -> Option<Vec<Vec<u8>>> {
    let above = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut files = above.map(|folder| folder.join("shared/data/binance_spot/btcusdt_20240808.gz"));
    let Some(file) = files.find(|file| file.exists()) else {
        eprintln!("skipped: no recorded data");
        return None;
    };
    let lines = io::BufReader::new(flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap()));
    // A line is the time of its receipt, a blank, and the frame.
    let text = |line: io::Result<String>| line.unwrap().split_once(' ').unwrap().1.as_bytes().to_vec();
    let texts: Vec<_> = io::BufRead::lines(lines).take(count).map(text).collect();
    assert_eq!(texts.len(), count);
    Some(texts)
}

/// Real frames, of all lengths that a venue sends, cut in two at each byte.
#[test]
fn a_recorded_stream_says_the_same_wherever_it_is_cut() {
    let Some(texts) = recorded(200) else { return };
    let bytes: Vec<u8> = texts.iter().flat_map(|text| frame(TEXT, text)).collect();
    // A window that is just large enough, so that the cut meets each of its edges.
    let mut deframer = Deframer::new(texts.iter().map(Vec::len).max().unwrap());
    for at in 0..=bytes.len() {
        let mut next = 0;
        for mut chunk in [&bytes[..at], &bytes[at..]] {
            while !chunk.is_empty() {
                let space = deframer.space();
                let (now, later) = chunk.split_at(space.len().min(chunk.len()));
                space[..now.len()].copy_from_slice(now);
                deframer.received(now.len());
                chunk = later;
                while let Some(event) = deframer.next_event().unwrap() {
                    assert_eq!(event, Event::Message(&texts[next]), "message {next}, cut at {at}");
                    next += 1;
                }
            }
        }
        assert_eq!(next, texts.len(), "cut at {at}");
    }
}

#[test]
fn every_split_gives_the_same() {
    let (bytes, expected) = short_stream();
    for first in 0..=bytes.len() {
        for second in (first..=bytes.len()).step_by(if first % 16 == 0 { 1 } else { 7 }) {
            let chunks = [&bytes[..first], &bytes[first..second], &bytes[second..]];
            assert_eq!(ours(1000, chunks), expected, "split at {first} and {second}");
        }
    }
}

#[test]
fn a_window_that_is_just_large_enough_serves_any_stream() {
    let (bytes, expected) = short_stream();
    let largest =
        expected.iter().map(|seen| if let Seen::Message(m) = seen { m.len() } else { 0 }).max().unwrap();
    let repeated = bytes[..bytes.len() - 14].repeat(50);
    for step in 1..300 {
        let seen = ours(largest, repeated.chunks(step));
        assert_eq!(seen.len(), 50 * (expected.len() - 1), "in steps of {step}");
        assert_eq!(seen[..expected.len() - 1], expected[..expected.len() - 1]);
    }
}

#[test]
fn lengths_must_be_shortest() {
    let form = |first: u8, second: u8, len: &[u8]| [&[first, second], len, &[b'x'; 200]].concat();
    let cases = [
        ("0 in two bytes", form(0x81, 126, &0u16.to_be_bytes())),
        ("125 in two bytes", form(0x81, 126, &125u16.to_be_bytes())),
        ("125 in eight bytes", form(0x82, 127, &125u64.to_be_bytes())),
        ("126 in eight bytes", form(0x82, 127, &126u64.to_be_bytes())),
        ("65535 in eight bytes", form(0x82, 127, &65_535u64.to_be_bytes())),
        ("a ping's in two bytes", form(0x89, 126, &5u16.to_be_bytes())),
        ("the highest bit set", form(0x82, 127, &(1u64 << 63).to_be_bytes())),
        ("all bits set", form(0x82, 127, &u64::MAX.to_be_bytes())),
    ];
    for (what, bytes) in cases {
        assert_eq!(ours(FULL, [&bytes[..]]), [Refused(1002)], "{what}");
        assert_eq!(ours(FULL, bytes.chunks(1)), [Refused(1002)], "{what}, byte by byte");
    }
}

#[test]
fn a_message_ends_at_the_limit() {
    for limit in [0, 1, 125, 126, 65_535, 65_536, FULL] {
        let exact = vec![7; limit];
        assert_eq!(ours(limit, [&frame(BINARY, &exact)[..]]), [message(&exact)], "{limit} bytes");
        // Refused by the header: nothing of the payload was sent.
        let header = header(FIN | BINARY, limit as u64 + 1);
        assert_eq!(ours(limit, [&header[..]]), [Refused(1009)], "one byte more than {limit}");
    }
    let (half, rest) = (vec![1; 50], vec![2; 50]);
    let whole = [piece(BINARY, &half), frame(PING, &[3; 125]), piece(FIN, &rest)].concat();
    assert_eq!(ours(100, [&whole[..]]), [Ping(vec![3; 125]), message([half.clone(), rest].concat())]);
    let over = [piece(BINARY, &half), header(FIN, 51)].concat();
    assert_eq!(ours(100, [&over[..]]), [Refused(1009)], "pieces that are too long together");
    for enormous in [100 << 20, 1 << 62, i64::MAX as u64] {
        assert_eq!(ours(FULL, [&header(FIN | TEXT, enormous)[..]]), [Refused(1009)], "{enormous} bytes");
    }
}

#[test]
fn masked_frames_are_refused() {
    for bytes in [masked(TEXT, b""), masked(TEXT, b"Hello"), masked(PING, b"x"), masked(CLOSE, &[3, 0xe8])] {
        assert_eq!(ours(FULL, [&bytes[..]]), [Refused(1002)]);
        assert_eq!(ours(FULL, bytes.chunks(1)), [Refused(1002)]);
    }
}

/// Pieces of no bytes, without end, fill no window; nor do control frames inside a message.
#[test]
fn endless_pieces_are_read_past() {
    let mut client = Client::new(200);
    client.receive(&piece(TEXT, &[b'a'; 199]));
    let between = [piece(CONTINUATION, b""), frame(PONG, &[0; 125])].concat().repeat(1000);
    (0..20).for_each(|_| client.receive(&between));
    client.receive(&piece(FIN, b"z"));
    assert_eq!(client.seen.len(), 20_001);
    assert_eq!(client.seen.last(), Some(&message([vec![b'a'; 199], vec![b'z']].concat())));
}

/// Were the window moved for each segment, this would take minutes.
#[test]
fn a_large_message_in_small_segments_is_read_in_time() {
    let started = Instant::now();
    let before = frame(TEXT, &vec![b'a'; 1 << 20]);
    let large = frame(BINARY, &vec![5; FULL]);
    let mut deframer = Deframer::default();
    let mut messages = 0;
    for chunk in before.chunks(1000).chain(large.chunks(3)) {
        deframer.space()[..chunk.len()].copy_from_slice(chunk);
        deframer.received(chunk.len());
        while deframer.next_event().unwrap().is_some() {
            messages += 1;
        }
    }
    assert_eq!(messages, 2);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

/// A server must be able to read what we send: tungstenite does.
#[test]
fn a_server_reads_what_the_framer_writes() {
    for seed in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
        let mut framer = Framer::new(seed);
        let (mut bytes, mut masks) = (Vec::new(), Vec::new());
        let payloads = [vec![], b"Hello".to_vec(), (0..125).collect::<Vec<u8>>(), vec![0xff; 124]];
        for payload in &payloads {
            masks.push(bytes.len() + 2);
            framer.pong(payload, &mut bytes);
        }
        framer.close(1001, &mut bytes);
        assert!(masks.windows(2).all(|pair| bytes[pair[0]..][..4] != bytes[pair[1]..][..4]), "masks repeat");
        let script = Script(VecDeque::from([bytes]));
        let mut server = WebSocket::from_raw_socket(script, Role::Server, None);
        for payload in payloads {
            assert_eq!(server.read().unwrap(), Message::Pong(payload.into()));
        }
        let Message::Close(Some(close)) = server.read().unwrap() else { panic!("no close frame") };
        assert_eq!((u16::from(close.code), close.reason.as_str()), (1001, ""));
    }
}

/// 1005 stands for "no code" and must never be sent (RFC 6455 §7.4.1).
#[test]
fn a_close_without_a_code_is_answered_without_one() {
    let mut bytes = Vec::new();
    Framer::new(1).close(1005, &mut bytes);
    assert_eq!((bytes.len(), &bytes[..2]), (6, &[0x88, 0x80][..]));
}

// Allocations, counted for each thread by itself, since tests run side by side.

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged. The counter is a plain cell without a destructor, so
// that counting neither allocates nor fails.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above; `at` came from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn reading_allocates_nothing() {
    let (bytes, expected) = short_stream();
    let bytes = &bytes[..bytes.len() - 14];
    let mut deframer = Deframer::new(1 << 16);
    let mut framer = Framer::new(7);
    let mut answers = Vec::with_capacity(1 << 10);
    let (mut messages, mut events) = (0, 0);
    let before = ALLOCATIONS.get();
    for round in 0..10_000 / 3 + 1 {
        for chunk in bytes.chunks(1 + round % 97) {
            deframer.space()[..chunk.len()].copy_from_slice(chunk);
            deframer.received(chunk.len());
            while let Some(event) = deframer.next_event().unwrap() {
                events += 1;
                match event {
                    Event::Message(_) => messages += 1,
                    Event::Ping(payload) => framer.pong(payload, &mut answers),
                    Event::Pong | Event::Close(_) => {}
                }
            }
            answers.clear();
        }
    }
    assert_eq!(ALLOCATIONS.get() - before, 0, "allocations");
    assert!(messages >= 10_000);
    assert_eq!(events, (10_000 / 3 + 1) * (expected.len() - 1));
    drop(Vec::<u8>::with_capacity(1));
    assert_eq!(ALLOCATIONS.get() - before, 1, "the counter counts");
}
