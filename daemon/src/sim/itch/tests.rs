//! Receivers made from the protocols' descriptions alone, against the venue's own book and trades.

use super::super::book::Side;
use super::super::{Fault, Faults, Sim, SimConfig, SymbolSpec};
use super::messages::Itch;
use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::Duration;

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// An order of a receiver's book: stock, side, price, shares.
type Order = (u64, u8, u64, u64);

/// What a receiver makes of ITCH messages.
#[derive(Default)]
struct Receiver {
    stocks: BTreeMap<u64, String>,
    orders: BTreeMap<u64, Order>,
    matches: BTreeMap<u64, Vec<u64>>,
    codes: Vec<u8>,
    kinds: BTreeMap<u8, u32>,
    time_ns: u64,
}

impl Receiver {
    fn take(&mut self, message: &[u8]) {
        let kind = message[0];
        let len = match kind {
            b'S' => 12,
            b'R' => 39,
            b'A' => 36,
            b'E' => 31,
            b'X' => 23,
            b'D' => 19,
            b'U' => 35,
            b'P' => 44,
            _ => panic!("{kind} is no type that is sent"),
        };
        assert_eq!(message.len(), len, "{}", char::from(kind));
        let (stock, time_ns) = (number(&message[1..3]), number(&message[5..11]));
        assert!(time_ns >= self.time_ns, "time goes backwards");
        self.time_ns = time_ns;
        *self.kinds.entry(kind).or_default() += 1;
        let reference = || number(&message[11..19]);
        match kind {
            b'S' => self.codes.push(message[11]),
            b'R' => drop(self.stocks.insert(stock, String::from_utf8(message[11..19].to_vec()).unwrap())),
            b'A' => {
                assert_eq!(&message[24..32], self.stocks[&stock].as_bytes());
                let order = (stock, message[19], number(&message[32..36]), number(&message[20..24]));
                assert!(self.orders.insert(reference(), order).is_none(), "a reference twice");
            }
            b'E' | b'X' => {
                let order = self.orders.get_mut(&reference()).unwrap();
                order.3 = order.3.checked_sub(number(&message[19..23])).unwrap();
                if order.3 == 0 {
                    self.orders.remove(&reference());
                }
                if kind == b'E' {
                    self.matches.entry(stock).or_default().push(number(&message[23..31]));
                }
            }
            b'D' => drop(self.orders.remove(&reference()).unwrap()),
            b'U' => {
                let order = self.orders.remove(&reference()).unwrap();
                let order = (order.0, order.1, number(&message[31..35]), number(&message[27..31]));
                assert!(self.orders.insert(number(&message[19..27]), order).is_none());
            }
            _ => self.matches.entry(stock).or_default().push(number(&message[36..44])),
        }
    }
}

#[test]
fn a_receiver_has_the_venues_book_after_every_millisecond() {
    let specs = SymbolSpec::defaults();
    let mut market = Market::new(5, &specs, 200.0, 1_700_002_759_500);
    let (mut itch, mut receiver, mut events) = (Itch::new(&specs), Receiver::default(), Vec::new());
    itch.begin(&market, &mut |message| receiver.take(&message));
    let mut trades = BTreeMap::<u64, Vec<u64>>::new();
    for _ in 0..20_000 {
        market.step(market.now_ms() + 1, &mut events);
        for event in events.drain(..) {
            if let super::super::market::Happening::Trade(trade) = &event.happening {
                trades.entry(event.symbol as u64 + 1).or_default().push(trade.id as u64);
            }
            itch.tell(&event, &mut |message| receiver.take(&message));
        }
        if market.now_ms() % 10 != 0 {
            continue;
        }
        let mut books = vec![[BTreeMap::new(), BTreeMap::new()]; specs.len()];
        for (stock, side, price, shares) in receiver.orders.values() {
            let side = usize::from(*side == b'S');
            let spec = &specs[*stock as usize - 1];
            let level = (*price as i64 * 10_000, *shares as i64 * spec.lot);
            assert!(books[*stock as usize - 1][side].insert(level.0, level.1).is_none());
        }
        for (symbol, book) in market.symbols().iter().zip(&books) {
            for (side, levels) in [Side::Bid, Side::Ask].into_iter().zip(book) {
                assert_eq!(*levels, symbol.book().best_first(side).collect());
            }
        }
    }
    itch.end(market.now_ms(), &mut |message| receiver.take(&message));
    assert_eq!(receiver.matches, trades, "every trade once, in order, as an execution or a trade");
    assert_eq!(receiver.codes, b"OSQMEC");
    assert_eq!(receiver.stocks[&1], "BTCUSDT ");
    for kind in *b"SRAEXDUP" {
        assert!(receiver.kinds[&kind] > 3, "{} of {}", receiver.kinds[&kind], char::from(kind));
    }
}

#[test]
fn what_itch_cannot_tell_is_refused() {
    let mut config = SimConfig::new(([127, 0, 0, 1], 0).into(), 1);
    config.soup = Some(([127, 0, 0, 1], 0).into());
    (config.symbols[0].tick, config.symbols[0].lot) = (1_000, 100_000_000);
    config.symbols[0].typical_quantity = 100_000_000;
    let refusal = Sim::start(config.clone()).unwrap_err().to_string();
    assert!(refusal.contains("four decimals"), "{refusal}");
    config.symbols = SymbolSpec::defaults();
    config.symbols[3].base = "LONGNAME".to_owned();
    assert!(Sim::start(config).unwrap_err().to_string().contains("eight characters"));
}

fn config() -> SimConfig {
    let mut config = SimConfig::new(([127, 0, 0, 1], 0).into(), 7);
    config.warm_up = Duration::from_secs(1);
    config
}

fn listener() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// A packet's session, first number and messages; `None` for those at the end of the session.
fn packet(bytes: &[u8]) -> (Vec<u8>, u64, Option<Vec<Vec<u8>>>) {
    let (session, sequence, count) = (bytes[..10].to_vec(), number(&bytes[10..18]), number(&bytes[18..20]));
    if count == 0xffff {
        return (session, sequence, None);
    }
    let (mut messages, mut at) = (Vec::new(), 20);
    for _ in 0..count {
        let len = number(&bytes[at..at + 2]) as usize;
        messages.push(bytes[at + 2..at + 2 + len].to_vec());
        at += 2 + len;
    }
    assert!(at == bytes.len() && at <= 1_400);
    (session, sequence, Some(messages))
}

/// What was heard on both lines.
#[derive(Default)]
struct Heard {
    all: BTreeMap<u64, Vec<u8>>,
    by_line: [BTreeSet<u64>; 2],
    session: Vec<u8>,
    ends: u32,
}

impl Heard {
    fn listen(&mut self, lines: &[UdpSocket; 2]) {
        let mut bytes = [0; 2_048];
        for (i, line) in lines.iter().enumerate() {
            line.set_nonblocking(true).unwrap();
            while let Ok(len) = line.recv(&mut bytes) {
                self.take(&bytes[..len], Some(i));
            }
        }
    }

    fn take(&mut self, bytes: &[u8], line: Option<usize>) {
        let (session, first, messages) = packet(bytes);
        self.session = session;
        let Some(messages) = messages else {
            self.ends += 1;
            return;
        };
        for (sequence, message) in (first..).zip(messages) {
            if let Some(line) = line {
                self.by_line[line].insert(sequence);
            }
            if let Some(other) = self.all.insert(sequence, message.clone()) {
                assert_eq!(other, message, "the lines differ at {sequence}");
            }
        }
    }

    /// The numbers that lie between others and were not heard.
    fn missing(&self) -> Vec<u64> {
        let last = self.all.last_key_value().map_or(0, |(sequence, _)| *sequence);
        (1..last).filter(|sequence| !self.all.contains_key(sequence)).collect()
    }
}

/// Two lines that each lose three packets in ten, and a server for what both lost, give everything.
#[test]
fn two_lossy_lines_and_requests_give_every_message() {
    let lines = [listener(), listener()];
    let mut config = config();
    config.faults = Faults::none().with(Fault::Drop, 0.3);
    config.mold = Some([lines[0].local_addr().unwrap(), lines[1].local_addr().unwrap()]);
    config.mold_requests = Some(([127, 0, 0, 1], 0).into());
    let sim = Sim::start(config).unwrap();
    let requests = sim.mold_requests_addr().unwrap();
    let mut heard = Heard::default();
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(1_500) {
        heard.listen(&lines);
        std::thread::sleep(Duration::from_millis(2));
    }
    // What both lines lost is asked for, one packet after the other.
    let lost_by_both = heard.missing();
    let client = listener();
    let mut bytes = [0; 2_048];
    while let Some(sequence) = heard.missing().first().copied() {
        let request = [&heard.session[..], &sequence.to_be_bytes(), &1_u16.to_be_bytes()].concat();
        client.send_to(&request, requests).unwrap();
        let len = client.recv(&mut bytes).unwrap();
        heard.take(&bytes[..len], None);
    }
    let log = sim.injected();
    drop(sim);
    heard.listen(&lines);
    let mut receiver = Receiver::default();
    let whole = heard.all.keys().zip(1..).take_while(|(sequence, expected)| *sequence == expected).count();
    assert!(whole > 1_000, "{whole} messages");
    heard.all.values().take(whole).for_each(|message| receiver.take(message));
    let Heard { all, by_line, session, ends } = heard;
    let last = *all.last_key_value().unwrap().0;
    assert!(ends == 2 && last >= whole as u64);
    for (mine, name) in by_line.iter().zip(["mold-a", "mold-b"]) {
        let lost = log.iter().filter(|injected| injected.stream == name);
        let lost: BTreeSet<u64> =
            lost.filter_map(|i| i.lost).flat_map(|(first, last)| first as u64..=last as u64).collect();
        assert!(lost.is_disjoint(mine) && lost.len() > 100, "{name} lost {}", lost.len());
    }
    assert_ne!(by_line[0], by_line[1]);
    assert!(session.starts_with(b"SIM"));
    assert!(lost_by_both.len() > 10, "both lines lost {lost_by_both:?} together");
}

#[test]
fn lost_packets_can_be_asked_for() {
    let line = listener();
    let mut config = config();
    config.mold = Some([line.local_addr().unwrap(); 2]);
    config.mold_requests = Some(([127, 0, 0, 1], 0).into());
    let sim = Sim::start(config).unwrap();
    let mut bytes = [0; 2_048];
    let len = line.recv(&mut bytes).unwrap();
    let (session, first, messages) = packet(&bytes[..len]);
    assert_eq!(first, 1);
    let messages = messages.unwrap();
    assert_eq!((messages[0][0], messages[0][11], messages[1][0]), (b'S', b'O', b'R'));

    let client = listener();
    let ask = |session: &[u8], first: u64, count: u16| {
        let request = [session, &first.to_be_bytes(), &count.to_be_bytes()].concat();
        client.send_to(&request, sim.mold_requests_addr().unwrap()).unwrap();
    };
    ask(b"WRONG     ", 1, 1); // Not answered: the next answer is the next request's.
    ask(&session, u64::MAX, 3);
    client.send_to(b"short", sim.mold_requests_addr().unwrap()).unwrap();
    ask(&session, 3, 2);
    let len = client.recv(&mut bytes).unwrap();
    assert_eq!(packet(&bytes[..len]), (session.clone(), 3, Some(messages[2..4].to_vec())));
    ask(&session, 1, 60_000);
    let len = client.recv(&mut bytes).unwrap();
    assert_eq!(packet(&bytes[..len]).2.unwrap(), messages, "as many as one packet holds");
}

/// Multicast over the loopback interface, where the machine allows it.
#[test]
fn the_lines_can_be_multicast() {
    let group = Ipv4Addr::new(239, 255, 77, 1);
    let socket = UdpSocket::bind((group, 0)).unwrap();
    if let Err(error) = socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST) {
        return println!("skipped: no multicast here: {error}");
    }
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut config = config();
    config.mold = Some([socket.local_addr().unwrap(); 2]);
    let _sim = Sim::start(config).unwrap();
    let mut bytes = [0; 2_048];
    let len = socket.recv(&mut bytes).unwrap();
    assert_eq!(packet(&bytes[..len]).1, 1);
}

struct Soup(TcpStream);

impl Soup {
    fn login(sim: &Sim, session: &str, sequence: &str) -> Self {
        let mut stream = TcpStream::connect(sim.soup_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let packet = format!("L{:<6}{:<10}{session:>10}{sequence:>20}", "user", "secret");
        stream.write_all(&(packet.len() as u16).to_be_bytes()).unwrap();
        stream.write_all(packet.as_bytes()).unwrap();
        Self(stream)
    }

    fn next(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 3];
        self.0.read_exact(&mut head).unwrap();
        let mut payload = vec![0; number(&head[..2]) as usize - 1];
        self.0.read_exact(&mut payload).unwrap();
        (head[2], payload)
    }
}

#[test]
fn soup_replays_from_any_number_and_says_goodbye() {
    let mut config = config();
    config.soup = Some(([127, 0, 0, 1], 0).into());
    config.trades_per_second = 0.0;
    let sim = Sim::start(config).unwrap();
    let mut first = Soup::login(&sim, "", "1");
    let (kind, accepted) = first.next();
    assert_eq!((kind, accepted.len(), &accepted[10..]), (b'A', 30, &b"                   1"[..]));
    let session = String::from_utf8(accepted[..10].to_vec()).unwrap();
    let said: Vec<_> = (0..200).map(|_| first.next()).collect();
    assert!(said.iter().all(|(kind, _)| *kind == b'S') && said[0].1[0] == b'S');

    let mut again = Soup::login(&sim, &session, "100");
    assert_eq!(again.next().1[10..], b"                 100"[..]);
    assert_eq!((0..101).map(|_| again.next()).collect::<Vec<_>>(), said[99..]);
    let mut newest = Soup::login(&sim, "", "0");
    let (_, accepted) = newest.next();
    assert!(str::from_utf8(&accepted[10..]).unwrap().trim().parse::<u64>().unwrap() > 800);
    for (session, sequence) in [("NOSUCH", "1"), ("", "99999999"), ("", "x")] {
        assert_eq!(Soup::login(&sim, session, sequence).next(), (b'J', b"S".to_vec()));
    }
    let mut endless = Soup::login(&sim, "", "1");
    endless.0.write_all(&[0xff, 0xff, b'U']).unwrap();
    let mut rest = Vec::new();
    let _ = endless.0.read_to_end(&mut rest); // It is dropped, in whatever way.

    drop(sim);
    let mut receiver = Receiver::default();
    said.iter().for_each(|(_, message)| receiver.take(message));
    let goodbye = std::iter::repeat_with(|| first.next()).find(|(kind, message)| {
        if *kind == b'S' {
            receiver.take(message);
        }
        *kind == b'Z'
    });
    assert!(goodbye.is_some());
    assert_eq!(receiver.codes, b"OSQMEC");
}

/// Without anything to say, both ways prove each second that they live; a client must prove it, too.
#[test]
fn silence_is_filled_with_heartbeats() {
    let mut store = Store::new(1_700_000_000_000);
    (0..3).for_each(|i| store.push(vec![i]));
    let mut soup = soup::Soup::open(([127, 0, 0, 1], 0).into()).unwrap();
    let mut stream = TcpStream::connect(soup.address().unwrap()).unwrap();
    let start = Instant::now();
    let login = format!("L{:<6}{:<10}{:>10}{:>20}", "", "", "", 2);
    stream.write_all(&(login.len() as u16).to_be_bytes()).unwrap();
    stream.write_all(login.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    for ms in (0..2_900).step_by(100) {
        soup.turn(&store, start + Duration::from_millis(ms));
    }
    let mut client = Soup(stream);
    client.0.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let kinds: Vec<u8> = (0..5).map(|_| client.next().0).collect();
    assert_eq!(kinds, b"ASSHH");
    soup.turn(&store, start + Duration::from_secs(16));
    let mut rest = Vec::new();
    client.0.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, [0, 1, b'H'], "the client said nothing for too long");

    let line = listener();
    let mut mold = mold::Mold::open([line.local_addr().unwrap(); 2], &config()).unwrap();
    let mut log = Log::default();
    for ms in (0..2_900).step_by(100) {
        mold.turn(&store, start + Duration::from_millis(ms), 0, &mut log);
    }
    let mut bytes = [0; 2_048];
    let mut firsts = Vec::new();
    line.set_nonblocking(true).unwrap();
    while let Ok(len) = line.recv(&mut bytes) {
        let (_, first, messages) = packet(&bytes[..len]);
        firsts.push((first, messages.unwrap().len()));
    }
    // On both lines: the messages, then a heartbeat a second with the number of what comes next.
    assert_eq!(firsts, [(1, 3), (1, 3), (4, 0), (4, 0), (4, 0), (4, 0)]);
}
