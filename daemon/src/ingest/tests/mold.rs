//! Feeds of MoldUDP64 on the hot thread: what is missing is asked for in time, also when nothing else comes.

use super::{Hot, PATIENT};
use crate::ingest::multicast::MoldPlan;
use crate::ingest::packets::Carries;
use crate::ingest::transport::Transport;
use crate::ingest::{Established, Vigil};
use market::moldudp64::Request;
use shm::status::Counter;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

const SESSION: &[u8; 10] = b"SESSION   ";

/// A packet with one message, which says nothing that the feed's venue would.
fn packet(sequence: u64) -> Vec<u8> {
    [&SESSION[..], &sequence.to_be_bytes(), &[0, 1, 0, 2], b"{}"].concat()
}

/// A hot thread with one line and a connection to a server, and the other ends of both.
struct Mold {
    hot: Hot,
    line: UdpSocket,
    server: UdpSocket,
}

fn pair() -> [UdpSocket; 2] {
    let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    sockets[0].connect(sockets[1].local_addr().unwrap()).unwrap();
    sockets[1].connect(sockets[0].local_addr().unwrap()).unwrap();
    sockets
}

impl Mold {
    fn start(vigil: Vigil) -> Option<Self> {
        let mut hot = Hot::start()?;
        let ([line, ours], [server, asking]) = (pair(), pair());
        server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut handover = hot.stop();
        let plan = MoldPlan {
            lines: vec![ours.local_addr().unwrap()],
            requests: Some(server.local_addr().unwrap()),
            interface: None,
            from_start: false,
        };
        handover.arbitrate(&[Some(plan)], &[]);
        hot.go_on(handover);
        for (at, (socket, carries)) in
            [(ours, Carries::MoldLine(0)), (asking, Carries::MoldRequests)].into_iter().enumerate()
        {
            let (socket, transport) = (socket.into(), Transport::Datagrams);
            assert!(hot.remote.hand_over(Established {
                feed: 0,
                line: at,
                socket,
                transport,
                carries,
                vigil
            }));
        }
        hot.wait_for(Counter::Connects, 2);
        Some(Self { hot, line, server })
    }

    /// The next request for that message. Those for earlier ones may have been on their way.
    fn asked(&self, sequence: u64) -> Request {
        let mut datagram = [0; 64];
        loop {
            let len = match self.server.recv(&mut datagram) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                outcome => outcome.expect("nothing was asked for"),
            };
            let request = Request::parse(&datagram[..len]).expect("a request alone in its datagram");
            if request.sequence >= sequence {
                return request;
            }
        }
    }
}

/// A hole opens and nothing more comes: the timer asks, soon, and again.
#[test]
fn what_is_missing_is_asked_for_in_silence() {
    let Some(mut mold) = Mold::start(PATIENT) else { return };
    let mut soonest = Duration::MAX;
    mold.line.send(&packet(1)).unwrap();
    for hole in (2..20).step_by(3) {
        mold.line.send(&packet(hole + 1)).unwrap();
        let opened = Instant::now();
        let request = mold.asked(hole);
        soonest = soonest.min(opened.elapsed());
        assert_eq!((request.sequence, request.count), (hole, 1));
        assert_eq!(mold.asked(hole), request, "it is asked for again");
        mold.server.send(&packet(hole)).unwrap();
        mold.hot.wait_for(Counter::FramesIn, hole + 1);
        mold.line.send(&packet(hole + 2)).unwrap();
        mold.hot.wait_for(Counter::FramesIn, hole + 2);
    }
    // The gap timer is 2 ms; a nap of the thread is 100 ms.
    assert!(soonest < Duration::from_millis(50), "{soonest:?}");
    assert_eq!(mold.hot.status.counter(Counter::MessagesLost), 0);
    mold.hot.stop();
}

/// Requests that are made together leave in a datagram each.
#[test]
fn each_request_has_a_datagram_of_its_own() {
    let Some(mut mold) = Mold::start(PATIENT) else { return };
    for sequence in [1, 3, 5, 7, 9] {
        mold.line.send(&packet(sequence)).unwrap();
    }
    let asked: std::collections::BTreeSet<_> = (0..4).map(|_| mold.asked(2).sequence).collect();
    assert_eq!(asked.into_iter().collect::<Vec<_>>(), [2, 4, 6, 8]);
    mold.hot.stop();
}

/// What is asked for in vain is given up, also in silence, and a server that is not there breaks nothing.
#[test]
fn a_server_that_is_not_there_breaks_nothing() {
    let Some(mut mold) = Mold::start(PATIENT) else { return };
    drop(std::mem::replace(&mut mold.server, UdpSocket::bind("127.0.0.1:0").unwrap()));
    for sequence in [1, 4] {
        mold.line.send(&packet(sequence)).unwrap();
    }
    mold.hot.wait_for(Counter::MessagesLost, 2);
    mold.hot.wait_for(Counter::FramesIn, 2);
    for (sequence, frames) in [(5, 3), (5, 3), (6, 4)] {
        mold.line.send(&packet(sequence)).unwrap();
        mold.hot.wait_for(Counter::FramesIn, frames);
    }
    mold.hot.wait_for(Counter::LineDuplicates, 1);
    let malformed = mold.hot.status.counter(Counter::Malformed);
    mold.line.send(b"no packet").unwrap();
    mold.hot.wait_for(Counter::Malformed, malformed + 1);
    assert_eq!(mold.hot.status.counter(Counter::Disconnects), 0);
    // What was seen is known to the thread that goes on.
    let handover = mold.hot.stop();
    mold.hot.go_on(handover);
    mold.line.send(&packet(6)).unwrap();
    mold.hot.wait_for(Counter::LineDuplicates, 2);
    mold.hot.stop();
}
