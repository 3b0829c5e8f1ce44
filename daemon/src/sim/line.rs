//! One connection's dialect and what of its words is still to be delivered: all of a connection but its socket.
//!
//! What holds: what comes out follows from the market, the requests and the market's time alone, so the server
//! with its sockets and the venue in virtual time share every line of it.

use super::binance::Binance;
use super::coinbase::Coinbase;
use super::faults::{Injector, Log, Ready, Record};
use super::http::Request;
use super::kraken::Kraken;
use super::venue::{Dialect, Kind, Names, Out, Say, Told, World};

#[derive(Debug)]
pub(super) struct Line {
    dialect: Box<dyn Dialect>,
    injector: Injector,
    out: Out,
    now_ms: i64,
}

impl Line {
    pub(super) fn new(
        dialect: Box<dyn Dialect>,
        injector: Injector,
        world: &World<'_>,
        log: &mut Log,
    ) -> Self {
        let mut line = Self { dialect, injector, out: Out::default(), now_ms: world.now_ms() };
        line.dialect.greet(world, &mut line.out);
        line.collect(world, log);
        line
    }

    /// Whose words it speaks, as far as the client has said.
    pub(super) fn kind(&self) -> Kind {
        self.dialect.kind()
    }

    /// A message of the client.
    pub(super) fn receive(&mut self, message: &[u8], world: &World<'_>, log: &mut Log) {
        self.dialect.receive(message, world, &mut self.out);
        self.collect(world, log);
    }

    /// Lives through a millisecond, at whose end the market stands.
    pub(super) fn live(&mut self, told: &[Told<'_>], world: &World<'_>, log: &mut Log) {
        for told in told {
            self.dialect.tell(told, world, &mut self.out);
        }
        self.dialect.beat(world, &mut self.out);
        self.collect(world, log);
    }

    /// What is due by now.
    pub(super) fn take(&mut self) -> Option<Ready> {
        self.injector.take(self.now_ms)
    }

    fn collect(&mut self, world: &World<'_>, log: &mut Log) {
        self.now_ms = world.now_ms();
        let mut record = Record { log, names: world.names };
        for say in self.out.said.drain(..) {
            match say {
                Say::Text { text, about } => {
                    self.injector.pass(self.now_ms, self.dialect.kind(), text, about, &mut record);
                }
                Say::Close { code, reason } => self.injector.close(code, reason),
            }
        }
    }
}

/// The dialect spoken at a path; `None` for paths without WebSockets, an error in one sentence.
pub(super) fn dialect(request: &Request, names: &Names) -> Option<Result<Box<dyn Dialect>, String>> {
    match request.path.as_str() {
        "/" => Some(Ok(Box::new(Coinbase::new(names)))),
        "/v2" => Some(Ok(Box::new(Kraken::new(names)))),
        _ => Some(Binance::open(request, names)?.map(|binance| Box::new(binance) as Box<dyn Dialect>)),
    }
}
