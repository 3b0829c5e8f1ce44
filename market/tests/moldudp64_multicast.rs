//! MoldUDP64 over real sockets: two multicast groups on the loopback device, both of which lose packets, and a
//! retransmission server that answers by unicast.

use market::moldudp64::{Arbiter, END_OF_SESSION, Event, Request, Session, Settings, State};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const SESSION: Session = Session(*b"LOOPBACK  ");
const MESSAGES: u64 = 30_000;
const PER_PACKET: u64 = 6;

fn header(sequence: u64, count: u16) -> Vec<u8> {
    [&SESSION.0[..], &sequence.to_be_bytes(), &count.to_be_bytes()].concat()
}

fn packet(from: u64, end: u64) -> Vec<u8> {
    let mut packet = header(from, (end - from) as u16);
    for sequence in from..end {
        packet.extend(16u16.to_be_bytes());
        packet.extend([sequence.to_be_bytes(), (!sequence).to_be_bytes()].concat());
    }
    packet
}

/// A socket that receives a group's datagrams from the loopback device.
fn join(group: Ipv4Addr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((group, 0))?;
    socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether this machine carries multicast on its loopback device.
fn carries(sender: &UdpSocket, line: &UdpSocket) -> bool {
    let group = line.local_addr().unwrap();
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        if sender.send_to(b"?", group).is_err() {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
        if line.recv(&mut [0; 8]).is_ok() {
            thread::sleep(Duration::from_millis(5));
            while line.recv(&mut [0; 8]).is_ok() {}
            return true;
        }
    }
    false
}

/// Sends the session to both groups. Each loses one packet in eight, and one in 64 is lost by both.
fn broadcast(sender: &UdpSocket, groups: [SocketAddr; 2]) {
    let (mut dice, mut next) = (1u64, 1);
    while next <= MESSAGES {
        let end = (next + PER_PACKET).min(MESSAGES + 1);
        for group in groups {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // The first packet tells where to begin.
            if dice >> 61 != 0 || next == 1 {
                sender.send_to(&packet(next, end), group).unwrap();
            }
        }
        if (end / PER_PACKET).is_multiple_of(32) {
            thread::sleep(Duration::from_millis(1));
        }
        next = end;
    }
}

/// Answers requests, a packet each, until it is told to stop.
fn serve(server: &UdpSocket, stop: &mpsc::Receiver<()>) {
    server.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let mut datagram = [0; 64];
    while stop.try_recv() == Err(mpsc::TryRecvError::Empty) {
        let Ok((len, client)) = server.recv_from(&mut datagram) else { continue };
        let request = Request::parse(&datagram[..len]).unwrap();
        let end = request.sequence + u64::from(request.count).min(20);
        server.send_to(&packet(request.sequence, end), client).unwrap();
    }
}

#[test]
fn a_session_on_two_lossy_groups_comes_out_whole() {
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // Of the block for use within an organisation; the process keeps other runs of this test apart.
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    let lines = [0, 1].map(|line| join(Ipv4Addr::new(239, 255 - line, high, low)));
    let [Ok(a), Ok(b)] = lines else {
        return println!("skipped: MoldUDP64 over multicast (cannot join a group)");
    };
    if !carries(&sender, &a) || !carries(&sender, &b) {
        return println!("skipped: MoldUDP64 over multicast (the loopback device carries none)");
    }
    let groups = [&a, &b].map(|line| line.local_addr().unwrap());
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let repair = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    repair.connect(server.local_addr().unwrap()).unwrap();
    repair.set_nonblocking(true).unwrap();

    let arbiter = thread::scope(|threads| {
        let (stop, stopped) = mpsc::channel();
        threads.spawn(move || serve(&server, &stopped));
        let sending = threads.spawn(|| {
            broadcast(&sender, groups);
            sender
        });
        let mut sending = Some(sending);
        let mut sender = None;
        let arbiter = receive([&a, &b, &repair], || {
            // The end is told until all have heard it.
            if sending.as_ref().is_some_and(|sending| sending.is_finished()) {
                sender = sending.take().and_then(|sending| sending.join().ok());
            }
            if let Some(sender) = &sender {
                sender.send_to(&header(MESSAGES + 1, END_OF_SESSION), groups[0]).unwrap();
            }
        });
        stop.send(()).unwrap();
        arbiter
    });
    assert_eq!(arbiter.state(), State::Synchronised);
    let (stream, [a, b]) = (arbiter.counters(), [0, 1].map(|line| arbiter.line(line)));
    println!("{stream:?}\n{a:?}\n{b:?}");
    assert_eq!((stream.delivered, stream.lost), (MESSAGES, 0));
    assert!(stream.gaps > 10 && stream.requests > 10 && arbiter.line(2).first > 60);
    for line in [a, b] {
        assert!(line.missed > MESSAGES / 12 && line.first > MESSAGES / 30, "{line:?}");
    }
}

/// Gives an arbiter what the sockets bring, until the session has ended. Calls `idle` when nothing came.
fn receive(sockets: [&UdpSocket; 3], mut idle: impl FnMut()) -> Arbiter {
    // Patience for a machine that is busy with other tests.
    let settings = Settings { gap_ns: 1_000_000, patience_ns: 20_000_000, tries: 8, ..Settings::default() };
    let mut arbiter = Arbiter::new(settings);
    let begin = Instant::now();
    let (mut next, mut ended, mut requests) = (1, false, vec![]);
    let mut datagram = [0; 2048];
    while !ended {
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?} at {next}", arbiter.state());
        let now_ns = begin.elapsed().as_nanos() as u64;
        let mut emit = |event: Event<'_>| match event {
            Event::Session { session, next } => assert_eq!((session, next), (SESSION, 1)),
            Event::Message { sequence, body } => {
                assert_eq!(sequence, next);
                assert_eq!(body, [sequence.to_be_bytes(), (!sequence).to_be_bytes()].concat());
                next += 1;
            }
            Event::Lost { from, to } => panic!("lost {from} to {to}"),
            Event::Request(request) => requests.push(request),
            Event::End { next: end } => {
                assert_eq!(end, next);
                ended = true;
            }
        };
        let mut came = false;
        for (line, socket) in sockets.into_iter().enumerate() {
            match socket.recv(&mut datagram) {
                Ok(len) => {
                    came = true;
                    arbiter.datagram(line, &datagram[..len], now_ns, &mut emit).unwrap();
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        if arbiter.wake_at_ns().is_some_and(|wake_at_ns| wake_at_ns <= now_ns) {
            arbiter.tick(now_ns, &mut emit);
        }
        for request in requests.drain(..) {
            sockets[2].send(&request.encode()).unwrap();
        }
        if !came {
            idle();
            thread::sleep(Duration::from_micros(100));
        }
    }
    arbiter
}
