//! The hot loop by itself, with a ring of its own: transports that no configuration names yet, texts, silence, and
//! threads that go on with one another's connections.

mod mold;

use super::hot::{Drawing, Handover, HotLoop};
use super::packets::Carries;
use super::transport::{BadPacket, Transport};
use super::ws::MAX_MESSAGE_BYTES;
use super::{CloseReason, Established, Event, Order, Remote, Vigil, channel};
use crate::engine::{Engine, EnginePlan, FeedPlan};
use crate::now_ns;
use crate::rt::{Placement, Wait};
use crate::supervisor::{INGEST, Pulse};
use crate::uring::{Bell, Ring, RingError, RingPlan};
use market::{Instrument, Timeframe, Venue};
use shm::prefix::Identity;
use shm::status::{Counter, StatusReader, StatusWriter};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A long text.
const TEXT_BYTES: usize = 4_096;
/// A vigil that no test outlasts.
const PATIENT: Vigil = Vigil { idle_ping_ns: u64::MAX, pong_patience_ns: u64::MAX };

/// A hot thread, by itself.
struct Hot {
    remote: Remote,
    status: StatusReader,
    writer: Arc<StatusWriter>,
    thread: Option<JoinHandle<Handover>>,
}

impl Hot {
    /// `None` where io_uring is forbidden.
    fn start() -> Option<Self> {
        Self::with_feeds(1)
    }

    fn with_feeds(count: usize) -> Option<Self> {
        if let Err(RingError::Forbidden(_)) = Ring::new(&RingPlan::ingest(false)) {
            eprintln!("skipped: no io_uring");
            return None;
        }
        let writer = Arc::new(StatusWriter::create(0, 0, [0; 2]).unwrap());
        let status = StatusReader::open(writer.reader_fd().unwrap()).unwrap();
        let symbol = |feed| if feed == 0 { "BTCUSDT".into() } else { format!("X{feed}") };
        let instrument = |feed| (Instrument::new(Venue::Binance, symbol(feed)), vec![Timeframe::S1]);
        let feed = |feed| FeedPlan { venue: Venue::Binance, instruments: vec![instrument(feed)] };
        let plan = EnginePlan {
            feeds: &(0..count).map(feed).collect::<Vec<_>>(),
            bars: 100,
            published: 100,
            huge_pages: false,
            identity: Identity::default(),
        };
        let engine = Engine::new(&plan, writer.clone(), now_ns).unwrap();
        let (remote, local) = channel().unwrap();
        let mut hot = Self { remote, status, writer, thread: None };
        hot.go_on(Handover::new(engine.into(), local));
        Some(hot)
    }

    /// Has a text said on every line of a feed.
    fn say(&mut self, feed: usize, text: &str) -> bool {
        self.remote.order(Order::Say { feed, line: None, text: text.to_owned() }).is_none()
    }

    fn go_on(&mut self, handover: Handover) {
        let status = self.writer.clone();
        self.remote.go_on();
        self.thread = Some(std::thread::spawn(move || {
            let ring = Ring::new(&RingPlan::ingest(false)).unwrap();
            let placement = Placement { name: "chartd-test", cpu: None, priority: 0, wait: Wait::Block };
            let pulse = Pulse::of_this_thread(status.clone(), INGEST, &placement, 0, Arc::default());
            let drawing = Drawing::Elsewhere(Arc::new(Bell::default()));
            HotLoop::new(ring, handover, status, drawing, Wait::Block, pulse).run().unwrap()
        }));
    }

    fn stop(&mut self) -> Handover {
        self.remote.stop();
        let thread = self.thread.take().unwrap();
        while !thread.is_finished() {
            self.remote.try_event(); // It waits for room to tell of an end.
            std::thread::sleep(Duration::from_micros(200));
        }
        thread.join().unwrap()
    }

    /// Hands a connection over.
    fn take(&mut self, socket: impl Into<std::os::fd::OwnedFd>, transport: Transport, vigil: Vigil) {
        assert!(self.remote.hand_over(Established {
            feed: 0,
            line: 0,
            socket: socket.into(),
            transport,
            carries: Carries::Frames,
            vigil
        }));
    }

    fn wait_for(&self, counter: Counter, value: u64) {
        let started = Instant::now();
        while self.status.counter(counter) < value {
            let count = self.status.counter(counter);
            assert!(started.elapsed() < Duration::from_secs(20), "{counter:?} is {count}, not {value}");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(self.status.counter(counter), value, "{counter:?}");
    }

    fn closed(&mut self) -> CloseReason {
        let started = Instant::now();
        loop {
            match self.remote.try_event() {
                Some(Event::Closed { feed: 0, reason, .. }) => return reason,
                Some(Event::Want(_)) => {} // Nobody fulfils it here.
                Some(other) => panic!("{other:?}"),
                None => assert!(started.elapsed() < Duration::from_secs(20), "it does not end"),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Hot {
    fn drop(&mut self) {
        if self.thread.is_some() && !std::thread::panicking() {
            self.stop();
        }
    }
}

fn trade(id: u64) -> String {
    let time = 1_700_000_000_000 + 10 * id;
    format!(
        r#"{{"e":"trade","E":{time},"s":"BTCUSDT","t":{id},"p":"100.5","q":"0.1","T":{time},"m":false,"M":true}}"#
    )
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_nodelay(true).unwrap();
    server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (ours, server)
}

fn web_socket() -> Transport {
    Transport::WebSocket { tls: None, residual: Vec::new(), message_bytes: MAX_MESSAGE_BYTES }
}

/// A frame of text as a server sends it.
fn frame(text: &str) -> Vec<u8> {
    let len = u8::try_from(text.len()).unwrap();
    let mut bytes = if len < 126 { vec![0x81, len] } else { vec![0x81, 126, 0, len] };
    bytes.extend(text.as_bytes());
    bytes
}

/// The opcode and payload of a masked frame of a client.
fn next_frame(server: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    server.read_exact(&mut head).unwrap();
    assert_eq!(head[1] & 0x80, 0x80, "the client does not mask");
    let len = match head[1] & 0x7f {
        126 => {
            let mut len = [0; 2];
            server.read_exact(&mut len).unwrap();
            usize::from(u16::from_be_bytes(len))
        }
        len => usize::from(len),
    };
    let (mut mask, mut payload) = ([0; 4], vec![0; len]);
    server.read_exact(&mut mask).unwrap();
    server.read_exact(&mut payload).unwrap();
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    (head[0] & 0x0f, payload)
}

#[test]
fn whole_datagrams_reach_the_engine() {
    let Some(mut hot) = Hot::start() else { return };
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.connect(ours.local_addr().unwrap()).unwrap();
    hot.take(ours.try_clone().unwrap(), Transport::Datagrams, PATIENT);
    hot.wait_for(Counter::Connects, 1);
    for id in 1..=50 {
        server.send(trade(id).as_bytes()).unwrap();
        hot.wait_for(Counter::Trades, id);
    }
    server.send(&[]).unwrap(); // Empty: no message, and no end.
    server.send(&vec![b' '; 40_000]).unwrap(); // Larger than a buffer.
    hot.wait_for(Counter::DatagramsCut, 1);
    server.send(trade(51).as_bytes()).unwrap();
    hot.wait_for(Counter::Trades, 51);
    assert_eq!(hot.status.counter(Counter::FramesIn), 51, "nothing but whole datagrams");
    // Another thread goes on with the socket.
    let handover = hot.stop();
    server.send(trade(52).as_bytes()).unwrap();
    hot.go_on(handover);
    hot.wait_for(Counter::Trades, 52);
    assert_eq!(hot.status.counter(Counter::Disconnects), 0);
}

#[test]
fn silent_datagrams_end_and_their_socket_is_given_back() {
    let Some(mut hot) = Hot::start() else { return };
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = ours.local_addr().unwrap();
    hot.take(ours, Transport::Datagrams, Vigil { idle_ping_ns: 100_000_000, pong_patience_ns: 100_000_000 });
    assert!(matches!(hot.closed(), CloseReason::Silent(0)));
    let started = Instant::now();
    while UdpSocket::bind(address).is_err() {
        hot.remote.try_event(); // Which drops what the hot thread gave back.
        assert!(started.elapsed() < Duration::from_secs(5), "the socket is still open");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Two bytes of length, which do not count themselves.
fn packet_length(bytes: &[u8]) -> Result<Option<usize>, BadPacket> {
    match bytes.first_chunk::<2>().map(|len| u16::from_be_bytes(*len)) {
        Some(0xffff) => Err(BadPacket("of a test")),
        len => Ok(len.map(|len| 2 + usize::from(len))),
    }
}

#[test]
fn packets_of_a_stream_reach_the_engine() {
    let Some(mut hot) = Hot::start() else { return };
    let (ours, mut server) = connected();
    // Its header is no part of a message that the engine of today knows, so each counts as malformed, once.
    let packet = [&[0, 5][..], b"hello"].concat();
    hot.take(ours, Transport::Stream { packet_length, residual: packet.clone() }, PATIENT);
    hot.wait_for(Counter::FramesIn, 1);
    packet.repeat(100).chunks(3).for_each(|chunk| server.write_all(chunk).unwrap());
    hot.wait_for(Counter::FramesIn, 101);
    assert_eq!(hot.status.counter(Counter::BytesIn), 101 * 7);
    assert!(hot.say(0, "logout"));
    let mut said = [0; 6];
    server.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"logout", "as it is");
    while hot.remote.try_event().is_some() {} // The malformed ones.
    server.write_all(&[0xff, 0xff]).unwrap();
    assert!(matches!(hot.closed(), CloseReason::Packet(_)));
}

#[test]
fn texts_are_said_as_masked_messages() {
    let Some(mut hot) = Hot::start() else { return };
    let (ours, mut server) = connected();
    hot.take(ours, web_socket(), PATIENT);
    let long = "x".repeat(TEXT_BYTES);
    let edges = [125, 126, 127].map(|len| &long[..len]);
    for text in ["", r#"{"op":"ping"}"#, "κόσμε", &long].into_iter().chain(edges) {
        assert!(hot.say(0, text));
        assert_eq!(next_frame(&mut server), (1, text.as_bytes().to_vec()));
    }
    assert!(hot.say(7, "to a feed that is not connected"));
    // A text that waits when the thread stops is said by the next one.
    let handover = hot.stop();
    assert!(hot.say(0, "later"));
    hot.go_on(handover);
    assert_eq!(next_frame(&mut server), (1, b"later".to_vec()));
    for _ in 0..30 {
        assert!(hot.say(0, "just before"));
        let handover = hot.stop();
        hot.go_on(handover);
        assert_eq!(next_frame(&mut server), (1, b"just before".to_vec()));
    }
}

/// A server that reads nothing is left once too much would wait for it; memory does not grow with what is said.
#[test]
fn a_server_that_does_not_read_what_is_said_is_left() {
    let Some(mut hot) = Hot::start() else { return };
    let (ours, server) = connected();
    hot.take(ours, web_socket(), PATIENT);
    hot.wait_for(Counter::Connects, 1);
    let text = "x".repeat(TEXT_BYTES);
    let started = Instant::now();
    while hot.status.counter(Counter::Disconnects) == 0 {
        hot.say(0, &text);
        assert!(started.elapsed() < Duration::from_secs(20), "it takes everything");
    }
    assert!(matches!(hot.closed(), CloseReason::Unread(_)));
    drop(server);
}

#[test]
fn a_silent_server_is_pinged_and_one_that_does_not_answer_is_left() {
    let Some(mut hot) = Hot::start() else { return };
    let (ours, mut server) = connected();
    hot.take(ours, web_socket(), Vigil { idle_ping_ns: 300_000_000, pong_patience_ns: 400_000_000 });
    hot.wait_for(Counter::Connects, 1);
    for pings in 1..=3 {
        let before = Instant::now();
        assert_eq!(next_frame(&mut server), (9, vec![]), "a ping");
        assert!(before.elapsed() >= Duration::from_millis(250), "too early: {:?}", before.elapsed());
        assert_eq!(hot.status.counter(Counter::PingsSent), pings);
        // A sign of life is whatever comes, to the byte: the answer, or half a frame.
        server.write_all(if pings == 3 { &[0x81] } else { &[0x8a, 0] }).unwrap();
    }
    assert_eq!(next_frame(&mut server), (9, vec![]));
    let pinged = Instant::now();
    assert!(matches!(hot.closed(), CloseReason::Silent(0)));
    let patience = pinged.elapsed();
    assert!((350..1500).contains(&patience.as_millis()), "{patience:?}");
    assert_eq!(server.read(&mut [0]).unwrap_or(0), 0, "the transport ended");
    assert_eq!(hot.status.counter(Counter::PingsSent), 4);
}

/// Whatever has come when a thread is stopped, and whatever comes before the next one runs, is taken: nothing is lost.
#[test]
fn threads_go_on_with_one_anothers_connections() {
    let Some(mut hot) = Hot::start() else { return };
    let (ours, mut server) = connected();
    hot.take(ours, web_socket(), PATIENT);
    const TRADES: u64 = 60_000;
    let sending = std::thread::spawn(move || {
        for ids in (1..=TRADES).collect::<Vec<_>>().chunks(7) {
            let bytes: Vec<u8> = ids.iter().flat_map(|id| frame(&trade(*id))).collect();
            // In two pieces, so that a thread often stops in the middle of a frame.
            let (first, rest) = bytes.split_at(bytes.len() / 2);
            server.write_all(first).unwrap();
            server.write_all(rest).unwrap();
        }
        server
    });
    let mut stops = 0;
    while !sending.is_finished() || stops < 10 {
        let handover = hot.stop();
        hot.go_on(handover);
        stops += 1;
    }
    println!("{stops} threads");
    hot.wait_for(Counter::Trades, TRADES);
    assert_eq!((hot.status.counter(Counter::MissingTrades), hot.status.counter(Counter::Duplicates)), (0, 0));
    assert_eq!((hot.status.counter(Counter::Malformed), hot.status.counter(Counter::Disconnects)), (0, 0));
    drop(sending.join().unwrap());
}

/// Many connections that bring more than the shared buffers hold, all at once: each gets all of its own.
#[test]
fn connections_that_share_buffers_lose_nothing() {
    const CONNECTIONS: usize = 40;
    const PACKETS: usize = 1000;
    let Some(mut hot) = Hot::with_feeds(CONNECTIONS) else { return };
    let mut servers = Vec::new();
    for feed in 0..CONNECTIONS {
        let (ours, server) = connected();
        servers.push(server);
        let (socket, transport) = (ours.into(), Transport::Stream { packet_length, residual: vec![] });
        assert!(hot.remote.hand_over(Established {
            feed,
            line: 0,
            socket,
            transport,
            carries: Carries::Frames,
            vigil: PATIENT
        }));
    }
    hot.wait_for(Counter::Connects, CONNECTIONS as u64);
    let handover = hot.stop(); // So that much waits when the next one begins.
    let packet = [&1000u16.to_be_bytes()[..], &[b'x'; 1000]].concat();
    std::thread::scope(|scope| {
        for server in &mut servers {
            let packets = packet.repeat(PACKETS);
            scope.spawn(move || server.write_all(&packets).unwrap());
        }
        std::thread::sleep(Duration::from_millis(300));
        hot.go_on(handover);
    });
    hot.wait_for(Counter::FramesIn, (CONNECTIONS * PACKETS) as u64);
    let bytes = CONNECTIONS * PACKETS * packet.len();
    assert_eq!(hot.status.counter(Counter::BytesIn), bytes as u64);
    assert!(hot.status.counter(Counter::RecvNobufs) > 0, "the buffers never ran out, so nothing was tested");
    assert_eq!(hot.status.counter(Counter::Disconnects), 0);
}
