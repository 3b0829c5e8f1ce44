//! SoupBinTCP: a client against a server's bytes, cut at every place.

use market::Integrity;
use market::moldudp64::Session;
use market::soupbintcp::{
    Client, Event, HEARTBEAT_NS, LOGIN_BYTES, Login, MAX_PACKET_BYTES, Reject, SILENCE_NS, SoupError, State,
};
use proptest::prelude::*;

const SESSION: Session = Session(*b" SESSION01");
const OTHER: Session = Session(*b" SESSION02");

fn login(sequence: u64) -> Login {
    Login::new("trader", "secret", "", sequence).unwrap()
}

fn packet(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u16 + 1).to_be_bytes()[..], &[kind], payload].concat()
}

fn accepted(session: Session, sequence: u64) -> Vec<u8> {
    packet(b'A', &[&session.0[..], format!("{sequence:>20}").as_bytes()].concat())
}

/// What a client said, as text.
fn note(said: &mut Vec<String>, event: Event<'_>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    said.push(match event {
        Event::Accepted { session, next, integrity } => format!("{session} {next} {integrity:?}"),
        Event::Rejected(reason) => format!("{reason:?}"),
        Event::Message { sequence, body } => format!("{sequence}: {}", text(body)),
        Event::Unsequenced(body) => format!("unsequenced: {}", text(body)),
        Event::Debug(body) => format!("debug: {}", text(body)),
        Event::End { next } => format!("end {next}"),
    });
}

/// Gives the client bytes, as many at a time as it takes.
fn feed(client: &mut Client, mut bytes: &[u8], said: &mut Vec<String>) -> Result<(), SoupError> {
    while !bytes.is_empty() {
        let space = client.space();
        assert!(!space.is_empty());
        let len = space.len().min(bytes.len());
        space[..len].copy_from_slice(&bytes[..len]);
        client.received(len, 0, &mut |event| note(said, event))?;
        bytes = &bytes[len..];
    }
    Ok(())
}

/// What a client says to these bytes.
#[track_caller]
fn said(client: &mut Client, bytes: &[u8]) -> Vec<String> {
    let mut said = vec![];
    feed(client, bytes, &mut said).unwrap();
    said
}

#[test]
fn a_login_is_padded_as_the_protocol_says() {
    let login = Login::new("ab", "secret", "S1", 42).unwrap();
    assert!(!format!("{login:?}").contains("secret"));
    let sent = Client::new(login, 0).connect(0);
    assert_eq!(sent.as_slice(), b"\x00\x2FLab    secret            S1                  42");
    assert_eq!(sent.len(), LOGIN_BYTES);
    let last = Client::new(Login::new("", "", "", u64::MAX).unwrap(), 0).connect(0);
    assert_eq!(&last[29..], b"18446744073709551615");
    for (username, password, session, field) in
        [("toolong", "", "", "username"), ("", "elevenchars", "", "password"), ("", "", "a\nb", "session")]
    {
        let error = Login::new(username, password, session, 1).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

/// Every type of packet that a server sends, and an empty message.
fn stream() -> Vec<u8> {
    [
        packet(b'+', b"welcome"),
        accepted(SESSION, 7),
        packet(b'S', b"first"),
        packet(b'H', b""),
        packet(b'S', b""),
        packet(b'U', b"aside"),
        packet(b'S', b"third\0\0\x01S"),
        packet(b'Z', b""),
    ]
    .concat()
}

const STREAM_SAYS: [&str; 7] = [
    "debug: welcome",
    "SESSION01 7 Ok",
    "7: first",
    "8: ",
    "unsequenced: aside",
    "9: third\0\0\x01S",
    "end 10",
];

#[test]
fn a_stream_may_be_cut_anywhere() {
    let stream = stream();
    let connected = || {
        let mut client = Client::new(login(7), 0);
        client.connect(0);
        client
    };
    for cut in 0..=stream.len() {
        let mut client = connected();
        let mut words = said(&mut client, &stream[..cut]);
        words.extend(said(&mut client, &stream[cut..]));
        assert_eq!(words, STREAM_SAYS, "{cut}");
    }
    let mut client = connected();
    let words: Vec<_> = stream.iter().flat_map(|byte| said(&mut client, &[*byte])).collect();
    assert_eq!(words, STREAM_SAYS);
    assert_eq!(client.state(), State::Closed);
}

#[test]
fn the_longest_packets_pass_through_the_smallest_window() {
    let mut client = Client::new(login(1), 0);
    client.connect(0);
    said(&mut client, &accepted(SESSION, 1));
    let long = packet(b'S', &vec![b'x'; MAX_PACKET_BYTES - 3]);
    for sequence in 1..6 {
        let words = said(&mut client, &[&packet(b'H', b"")[..], &long].concat());
        assert_eq!(words.len(), 1);
        assert!(words[0].starts_with(&format!("{sequence}: xxx")) && words[0].len() == MAX_PACKET_BYTES);
    }
}

#[test]
fn a_new_connection_goes_on_at_the_next_message() {
    let mut client = Client::new(login(1), 0);
    client.connect(0);
    said(&mut client, &[accepted(SESSION, 1), packet(b'S', b"a"), packet(b'S', b"b")].concat());
    // Cut off inside a packet.
    said(&mut client, &packet(b'S', b"c")[..3]);
    let sent = client.connect(0);
    assert_eq!(&sent[19..], b" SESSION01                   3");
    assert_eq!(
        said(&mut client, &[accepted(SESSION, 3), packet(b'S', b"c")].concat()),
        ["SESSION01 3 Ok", "3: c"]
    );
    // A server that begins earlier repeats itself, one that begins later has lost something.
    client.connect(0);
    let earlier = [accepted(SESSION, 2), packet(b'S', b"b"), packet(b'S', b"c"), packet(b'S', b"d")];
    assert_eq!(said(&mut client, &earlier.concat()), ["SESSION01 4 Ok", "4: d"]);
    assert_eq!(client.duplicates(), 2);
    client.connect(0);
    let later = [accepted(SESSION, 8), packet(b'S', b"h")].concat();
    assert_eq!(said(&mut client, &later), ["SESSION01 8 Gap { from: 5, to: 7 }", "8: h"]);
    // Another session is another stream.
    client.connect(0);
    assert_eq!(said(&mut client, &accepted(OTHER, 1)), ["SESSION02 1 Ok"]);
    client.connect(0);
    assert_eq!(said(&mut client, &accepted(SESSION, 5)), ["SESSION01 5 Unverifiable"]);
    // After its end, the following one is asked for from its beginning.
    said(&mut client, &packet(b'Z', b""));
    assert_eq!(&client.connect(0)[19..], b"                             1");
}

#[test]
fn a_first_login_says_what_is_missing() {
    for (wanted, given, integrity) in [
        (1, 1, "Ok"),
        (7, 7, "Ok"),
        (0, 1, "Ok"),
        (0, 9, "Unverifiable"),
        (7, 5, "Unverifiable"),
        (7, 1, "Ok"),
        (1, 9, "Gap { from: 1, to: 8 }"),
    ] {
        let mut client = Client::new(login(wanted), 0);
        client.connect(0);
        assert_eq!(said(&mut client, &accepted(SESSION, given)), [format!("SESSION01 {given} {integrity}")]);
    }
}

#[test]
fn a_refused_session_is_not_asked_for_again() {
    for (reason, event, session) in [
        (b'A', Reject::NotAuthorized, b" SESSION01                   2"),
        (b'S', Reject::SessionNotAvailable, b"                             1"),
        (b'?', Reject::Other(b'?'), b" SESSION01                   2"),
    ] {
        let mut client = Client::new(login(1), 0);
        client.connect(0);
        said(&mut client, &[accepted(SESSION, 1), packet(b'S', b"a")].concat());
        client.connect(0);
        assert_eq!(said(&mut client, &packet(b'J', &[reason])), [format!("{event:?}")]);
        assert_eq!((client.state(), client.wake_at_ns()), (State::Closed, None));
        assert_eq!(&client.connect(0)[19..], session);
    }
}

#[test]
fn heartbeats_are_sent_when_nothing_else_is_and_missed_when_none_come() {
    let mut client = Client::new(login(1), 0);
    client.connect(100);
    assert_eq!(client.heartbeat(100 + HEARTBEAT_NS), None);
    assert_eq!(client.wake_at_ns(), Some(100 + SILENCE_NS));
    said(&mut client, &accepted(SESSION, 1));
    assert_eq!(client.wake_at_ns(), Some(100 + HEARTBEAT_NS));
    assert_eq!(client.heartbeat(99 + HEARTBEAT_NS), None);
    assert_eq!(client.heartbeat(100 + HEARTBEAT_NS), Some([0, 1, b'R']));
    assert_eq!(client.heartbeat(100 + HEARTBEAT_NS), None);
    client.sent(500 + HEARTBEAT_NS);
    assert_eq!(client.wake_at_ns(), Some(500 + 2 * HEARTBEAT_NS));
    assert_eq!(client.logout(7 * HEARTBEAT_NS), [0, 1, b'O']);
    assert_eq!(client.heartbeat(8 * HEARTBEAT_NS - 1), None);
    // What was received last came at 0.
    assert!(!client.is_silent(SILENCE_NS - 1) && client.is_silent(SILENCE_NS));
    client.space()[..3].copy_from_slice(&packet(b'H', b""));
    client.received(3, 5, &mut |_| panic!("a heartbeat says nothing")).unwrap();
    assert!(!client.is_silent(SILENCE_NS) && client.is_silent(SILENCE_NS + 5));
}

#[test]
fn what_no_server_sends_is_an_error() {
    let streaming = |bytes: &[u8]| [accepted(SESSION, 1), bytes.to_vec()].concat();
    let accepted_with = |number: &str| packet(b'A', format!("{:>10}{number:>20}", "S").as_bytes());
    for (bytes, error) in [
        (vec![0, 0], SoupError::Empty),
        (packet(b'?', b""), SoupError::UnknownType(b'?')),
        (packet(b'S', b"early"), SoupError::Unexpected('S')),
        (packet(b'Z', b""), SoupError::Unexpected('Z')),
        (packet(b'A', &[b' '; 29]), SoupError::Length { kind: 'A', len: 29 }),
        (packet(b'J', b""), SoupError::Length { kind: 'J', len: 0 }),
        (packet(b'H', b"!"), SoupError::Length { kind: 'H', len: 1 }),
        (streaming(&packet(b'Z', b"!")), SoupError::Length { kind: 'Z', len: 1 }),
        (streaming(&accepted(SESSION, 1)), SoupError::Unexpected('A')),
        (streaming(&packet(b'J', b"A")), SoupError::Unexpected('J')),
        (accepted_with(""), SoupError::Sequence),
        (accepted_with("0"), SoupError::Sequence),
        (accepted_with("1x"), SoupError::Sequence),
        (accepted_with("99999999999999999999"), SoupError::Sequence),
        ([accepted_with("18446744073709551615"), packet(b'S', b"")].concat(), SoupError::Sequence),
        ([packet(b'J', b"A"), packet(b'+', b"")].concat(), SoupError::Closed),
    ] {
        let mut client = Client::new(login(1), 0);
        client.connect(0);
        assert_eq!(feed(&mut client, &bytes, &mut vec![]), Err(error), "{bytes:?}");
        assert_eq!(client.state(), State::Closed);
        assert_eq!(feed(&mut client, &[0], &mut vec![]), Err(SoupError::Closed));
        client.connect(0);
        assert_eq!(feed(&mut client, &packet(b'+', b""), &mut vec![]), Ok(()));
    }
}

#[test]
fn nothing_is_allocated_once_it_runs() {
    let mut client = Client::new(login(1), 0);
    let bytes = [accepted(SESSION, 1), packet(b'S', &[7; 300]).repeat(1000)].concat();
    let mut messages = 0;
    let mut run = || {
        client.connect(0);
        for part in bytes.chunks(777) {
            client.space()[..part.len()].copy_from_slice(part);
            let mut emit = |event: Event<'_>| messages += u64::from(matches!(event, Event::Message { .. }));
            client.received(part.len(), 0, &mut emit).unwrap();
        }
    };
    assert_eq!(allocation_counter::measure(&mut run).count_total, 0);
    assert_eq!(messages, 1000);
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(
        parts in prop::collection::vec((prop::sample::select(&b"+AJSHZU?"[..]), prop::collection::vec(any::<u8>(), 0..40)), 0..30),
        garbage in prop::collection::vec(any::<u8>(), 0..200),
        window in 0..70_000usize,
    ) {
        let mut client = Client::new(login(1), window);
        client.connect(0);
        let mut said = vec![];
        let _ = feed(&mut client, &accepted(SESSION, 1), &mut said);
        for (kind, payload) in parts {
            if feed(&mut client, &packet(kind, &payload), &mut said).is_err() {
                client.connect(0);
            }
        }
        let _ = feed(&mut client, &garbage, &mut said);
        // More than there was room for is not believed.
        let _ = client.received(usize::MAX, 0, &mut |_| {});
        prop_assert!(!client.space().is_empty());
    }

    /// However it is cut, all that was sent comes out, with its number.
    #[test]
    fn messages_are_counted(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..100),
        cuts in prop::collection::vec(1..9000usize, 1..20),
        first in 1..u64::MAX / 2,
    ) {
        let mut client = Client::new(login(first), 0);
        client.connect(0);
        let mut bytes = accepted(SESSION, first);
        bodies.iter().for_each(|body| bytes.extend(packet(b'S', body)));
        let (mut rest, mut cuts, mut got) = (&bytes[..], cuts.iter().cycle(), vec![]);
        while !rest.is_empty() {
            let space = client.space();
            assert!(!space.is_empty());
            let len = rest.len().min(*cuts.next().unwrap()).min(space.len());
            space[..len].copy_from_slice(&rest[..len]);
            rest = &rest[len..];
            let mut emit = |event: Event<'_>| match event {
                Event::Message { sequence, body } => got.push((sequence, body.to_vec())),
                event => assert!(matches!(event, Event::Accepted { integrity: Integrity::Ok, .. }) ),
            };
            client.received(len, 0, &mut emit).unwrap();
        }
        let expected: Vec<_> = (first..).zip(bodies).collect();
        prop_assert_eq!(got, expected);
    }
}

/// Packets that somebody else cuts say the same as those that the client cuts.
#[test]
fn a_packet_is_read_by_itself() {
    use market::soupbintcp::{ServerPacket, packet_length};
    assert_eq!(
        [packet_length(b""), packet_length(b"\0"), packet_length(b"\x01\x02S")],
        [None, None, Some(260)]
    );
    for (packet, expected) in [
        (&b"\0\x03Shi"[..], ServerPacket::Sequenced(b"hi")),
        (b"\0\x01S", ServerPacket::Sequenced(b"")),
        (b"\0\x01H", ServerPacket::Other),
        (b"\0\x03+hi", ServerPacket::Other),
        (b"\0\x03Uhi", ServerPacket::Other),
        (b"\0\x01Z", ServerPacket::End),
    ] {
        assert_eq!(ServerPacket::parse(packet), Ok(expected));
    }
    for packet in [&b""[..], b"\0\0", b"\0\x02H!", b"\0\x02Z!", b"\0\x02JA", b"\0\x01?"] {
        assert!(ServerPacket::parse(packet).is_err(), "{packet:?}");
    }
}
