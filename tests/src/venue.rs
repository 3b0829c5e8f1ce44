//! A venue that remembers all that it sends: trades of one symbol as Binance tells them, in bursts, to everybody who
//! connects. Now and then a message is long, so that journals must part it.

use crate::power_cut::Dice;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// All messages of a connection, in order.
pub type Messages = Vec<Arc<[u8]>>;

/// A venue that trades until it is dropped.
pub struct Venue {
    /// Where it is.
    pub address: SocketAddr,
    /// What it trades.
    pub symbol: &'static str,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    connections: Mutex<Vec<Messages>>,
    next_trade: AtomicU64,
    stop: AtomicBool,
}

impl Venue {
    /// A venue of this symbol, about 6,000 messages a second at most on each connection.
    pub fn open(symbol: &'static str, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let shared = Arc::new(Shared::default());
        let inner = shared.clone();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                if inner.stop.load(Relaxed) {
                    return;
                }
                let (shared, dice) = (inner.clone(), Dice::new(seed << 20 | number as u64));
                // Whoever goes away ends its connection, and that is all.
                std::thread::spawn(move || drop(shared.trade(stream, symbol, dice)));
            }
        });
        Self { address, symbol, shared }
    }

    /// What each connection was sent so far, or is about to be.
    pub fn sent(&self) -> Vec<Messages> {
        self.shared.connections().clone()
    }
}

impl Drop for Venue {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        let _ = TcpStream::connect(self.address); // Wakes it.
    }
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, Vec<Messages>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trade(&self, stream: TcpStream, symbol: &str, mut dice: Dice) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        // What asks for anything but a WebSocket is refused.
        let Ok(socket) = tungstenite::accept(stream) else { return Ok(()) };
        let mut stream = socket.get_ref().try_clone()?;
        let mut from = stream.try_clone()?;
        std::thread::spawn(move || while from.read(&mut [0; 512]).is_ok_and(|read| read > 0) {});
        let place = {
            let mut connections = self.connections();
            connections.push(Messages::new());
            connections.len() - 1
        };
        while !self.stop.load(Relaxed) {
            for _ in 0..=dice.below(32) {
                let message: Arc<[u8]> = self.message(symbol, &mut dice).into_bytes().into();
                // Noted first: what was read was noted.
                self.connections()[place].push(message.clone());
                stream.write_all(&framed(&message))?;
            }
            std::thread::sleep(Duration::from_micros(dice.below(4_000)));
        }
        Ok(())
    }

    fn message(&self, symbol: &str, dice: &mut Dice) -> String {
        let id = self.next_trade.fetch_add(1, Relaxed);
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis());
        let padding = match dice.below(2_000) {
            0 => 300_000,
            1..20 => dice.below(20_000),
            _ => dice.below(100),
        };
        let (stream, cents) = (symbol.to_lowercase(), dice.below(100));
        format!(
            r#"{{"stream":"{stream}@trade","data":{{"e":"trade","E":{now_ms},"s":"{symbol}","t":{id},"p":"60000.{cents:02}000000","q":"0.02000000","T":{now_ms},"m":true,"M":true,"pad":"{}"}}}}"#,
            "x".repeat(padding as usize)
        )
    }
}

/// A text message as a server sends it.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match message.len() {
        len @ 0..126 => frame.push(len as u8),
        len @ 126..0x1_0000 => {
            frame.push(126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(message);
    frame
}
