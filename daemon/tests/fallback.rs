//! The daemon where the kernel refuses what it would like to have: it does without, one thing at a time, and says so.

#[allow(dead_code, reason = "other tests use the rest")]
mod common {
    pub(crate) mod daemon;
    pub(crate) mod tls;
    pub(crate) mod venue;
    pub(crate) mod wire;
}

use common::daemon::{Daemon, Feed, wait_until};
use common::tls::{Authority, Fault, records};
use common::venue::{Peer, Venue, trade, trades};
use common::wire::{CONTINUATION, FIN, PING, TEXT, frame, piece};
use shm::status::Counter::*;
use std::io::Write;

const BTC: &str = "BTCUSDT";
const ETH: &str = "ETHUSDT";
const PONG: u8 = 10;

/// What is refused, by its failure point, and what is said of it.
const REFUSED: [(&str, &str); 5] = [
    ("uring.buffers", "each receive is begun by itself"),
    ("uring.multishot", "each receive is begun by itself"),
    ("uring.files", "sockets are looked up for each operation"),
    ("uring.ring_fd", "a ring is looked up for each call"),
    ("uring.restrictions", "a ring may do more than its thread needs"),
];

#[test]
fn nothing_that_the_kernel_grants_is_reported() {
    let venue = Venue::listen();
    let Some(daemon) = Daemon::start(&[Feed { symbol: BTC, url: venue.url(), ca_file: None }]) else {
        return;
    };
    let lines = daemon.degraded();
    for (point, says) in REFUSED {
        assert!(!lines.iter().any(|line| line.starts_with(says)), "{point}: {lines:?}");
    }
    let log = daemon.log();
    assert!(log.contains("multishot receives into 256 buffers of 16 KiB"), "{log}");
    assert!(log.contains("sockets registered") && log.contains("ring registered, restricted"), "{log}");
}

#[test]
fn each_refusal_is_done_without_and_told() {
    for (point, says) in REFUSED {
        let Some(lines) = trades_come_though_refused(point) else { return };
        let told: Vec<_> =
            REFUSED.iter().filter(|(_, says)| lines.iter().any(|l| l.starts_with(says))).collect();
        assert!(told.iter().all(|(_, told)| *told == says) && !told.is_empty(), "{point}: {lines:?}");
    }
}

#[test]
fn all_refusals_at_once_are_done_without() {
    let points: Vec<_> = REFUSED.iter().map(|(point, _)| *point).collect();
    let Some(lines) = trades_come_though_refused(&points.join(",")) else { return };
    for (_, says) in &REFUSED[1..] {
        assert!(lines.iter().any(|line| line.starts_with(says)), "{says}: {lines:?}");
    }
}

/// Everything that a connection must bear, plain and encrypted, side by side. Returns what the daemon lacks.
fn trades_come_though_refused(points: &str) -> Option<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca.pem");
    let (plain, encrypted) = (Venue::listen(), Venue::listen());
    let feeds = [
        Feed { symbol: BTC, url: plain.url(), ca_file: None },
        Feed {
            symbol: ETH,
            url: format!("wss://{}", encrypted.address()),
            ca_file: Some(&authority.ca_file),
        },
    ];
    let daemon = Daemon::start_with(&feeds, &[("CHARTD_FAIL", &format!("{points}=refuse"))])?;
    let mut clear = plain.welcome();
    let mut secret = Peer::welcome(authority.server(Fault::None).accept(&encrypted));
    clear.send(&trades(BTC, 1..=5000));
    secret.send(&trades(ETH, 1..=5000));
    for byte in trades(BTC, 5001..=5003) {
        clear.send(&[byte]);
    }
    let bytes = records(&mut secret.0, &trades(ETH, 5001..=5003), 7);
    bytes.chunks(3).for_each(|chunk| secret.0.sock.write_all(chunk).unwrap());
    let mut large = trade(BTC, 5004, 500_400);
    large.splice(1..1, std::iter::repeat_n(b' ', 3 << 20));
    let (first, rest) = large.split_at(1 << 20);
    clear.send(
        &[piece(TEXT, first), frame(PING, b"between"), piece(CONTINUATION, b""), piece(FIN, rest)].concat(),
    );
    assert_eq!(clear.next_frame(), Some((PONG, b"between".to_vec())), "{points}");
    secret.send(&frame(PING, b"secret"));
    assert_eq!(secret.next_frame(), Some((PONG, b"secret".to_vec())), "{points}");
    daemon.wait_for_trades(BTC, 5004);
    daemon.wait_for_trades(ETH, 5003);
    assert_eq!((daemon.count(Malformed), daemon.count(MissingTrades), daemon.count(Disconnects)), (0, 0, 0));
    // A connection that ends is seen to end, and its place serves another.
    clear.hang_up();
    daemon.wait_for(Disconnects, 1);
    plain.welcome().send(&trades(BTC, 5005..=5006));
    wait_until(|| format!("{points}: {}", daemon.log()), || daemon.trades(BTC) == 5006);
    Some(daemon.degraded())
}
