//! The engine and the renderer of the daemon in one thread, fused as there, but with nothing else around them: one
//! connection, read in one of several ways. What differs between two of these is how the socket is read; what differs
//! between the daemon and the one that reads by io_uring is all else that the daemon's thread does.
//!
//! The loop is the daemon's: what came is fed to the engine, then drawn, then each chart is prepared for its next frame
//! while nothing comes.

use anyhow::{Context, ensure};
use chartd::config::Config;
use chartd::engine::{Engine, EnginePlan, FeedPlan};
use chartd::ingest::ws::{Deframer, Event};
use chartd::now_ns;
use chartd::render::{ChartPlan, Renderer};
use chartd::rt::{self, Cpus, Wait};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode};
use market::Instrument;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use shm::frame::FrameReader;
use shm::prefix::Identity;
use shm::status::StatusWriter;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

/// How long a blocking read sleeps before the thread looks up, as in the daemon.
const NAP: Duration = Duration::from_millis(100);

/// How the socket is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// By io_uring, with the daemon's settings: one receive in flight, straight into the window.
    Uring,
    /// By epoll, then recv.
    Epoll,
    /// By recv again and again, without asking first. It can only spin.
    Recv,
}

/// The daemon's planes.
pub(crate) struct Bare {
    engine: Engine,
    renderer: Renderer,
    placement: rt::Placement,
}

impl Bare {
    /// The planes of a configuration with one feed and one chart, and the frames that it publishes.
    pub(crate) fn new(config: &Config) -> anyhow::Result<(Self, FrameReader)> {
        let (feed, chart) = config.feeds.first().zip(config.charts.first()).context("no feed or no chart")?;
        let instrument = Instrument::new(feed.venue, &chart.source.symbol);
        let digits = instrument.price_digits;
        let feeds = [FeedPlan { venue: feed.venue, instruments: vec![(instrument, vec![chart.timeframe])] }];
        let plan = EnginePlan {
            feeds: &feeds,
            bars: config.bars,
            published: config.bars,
            huge_pages: config.realtime.huge_pages,
            identity: Identity::default(),
        };
        let status = Arc::new(StatusWriter::create(std::process::id(), now_ns(), [0; 2])?);
        let engine = Engine::new(&plan, status.clone(), now_ns)?;
        let chart = ChartPlan {
            name: chart.name(),
            size: chart.size,
            theme: chart.theme,
            look: chart.look(digits).map_err(anyhow::Error::msg)?,
            price_lines: Vec::new(),
            time_zone: chart.time_zone.clone(),
            history: config.bars,
            leases: config.leases,
        };
        let market = engine.market().reader_fd()?;
        let renderer = Renderer::new(&[chart], market, config.realtime.huge_pages, status, now_ns)?;
        renderer.announce()?;
        if config.realtime.lock_memory {
            rt::lock_memory();
        }
        let [control, pixels] = renderer.exports()?.pop().context("the chart exports nothing")?.segments;
        let placement = rt::place(&config.realtime, &Cpus::read()).ingest;
        Ok((Self { engine, renderer, placement }, FrameReader::open(control, pixels)?))
    }

    /// Connects, and goes on until the venue closes. Called on a thread of its own, which it places as the daemon does.
    pub(crate) fn run(mut self, address: SocketAddr, how: How) -> anyhow::Result<()> {
        let (socket, residual) = connect(address)?;
        // Made before the priority is raised, as in the daemon.
        let mut input = Input::new(socket, &residual, how)?;
        self.placement.apply();
        self.engine.connected(0, 0, now_ns());
        let spins = self.placement.wait == Wait::Spin;
        let mut came = Came::Bytes(0); // What came behind the handshake lies in the window.
        loop {
            match came {
                Came::End => return Ok(()),
                Came::Bytes(len) => {
                    let receive_ns = now_ns();
                    input.deframer.received(len);
                    while let Some(event) = input.deframer.next_event()? {
                        if let Event::Message(message) = event {
                            self.engine.frame(0, 0, message, receive_ns);
                        }
                    }
                    self.renderer.step();
                }
                Came::Nothing if self.renderer.is_behind() => _ = self.renderer.catch_up(),
                Came::Nothing => {}
            }
            let is_idle = !spins && !self.renderer.is_behind();
            came = input.wait(if is_idle { NAP } else { Duration::ZERO })?;
        }
    }
}

/// Connects as a WebSocket. Returns what came behind the answer, too.
fn connect(address: SocketAddr) -> anyhow::Result<(TcpStream, Vec<u8>)> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    socket.write_all(request.as_bytes())?;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let len = socket.read(&mut part)?;
        ensure!(len > 0, "the venue closed during the handshake");
        answer.extend(&part[..len]);
        if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            ensure!(answer.starts_with(b"HTTP/1.1 101"), "the venue refused the handshake");
            let residual = answer.split_off(end + 4);
            return Ok((socket, residual));
        }
    }
}

/// What a wait brought.
enum Came {
    Nothing,
    Bytes(usize),
    End,
}

/// A connection and its window. Whoever gets [`Came::Bytes`] tells the deframer, and takes all its events.
struct Input {
    socket: TcpStream,
    deframer: Deframer,
    way: Way,
}

enum Way {
    Uring { ring: Box<IoUring>, is_armed: bool },
    Epoll(Epoll),
    Recv,
}

impl Input {
    fn new(socket: TcpStream, residual: &[u8], how: How) -> anyhow::Result<Self> {
        let mut deframer = Deframer::default();
        deframer.space()[..residual.len()].copy_from_slice(residual);
        deframer.received(residual.len());
        // In a ring, an operation waits in the kernel instead of failing.
        socket.set_nonblocking(how != How::Uring)?;
        let way = match how {
            How::Recv => Way::Recv,
            How::Epoll => {
                let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
                epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
                Way::Epoll(epoll)
            }
            How::Uring => {
                let mut builder = IoUring::builder();
                builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
                builder.setup_submit_all().dontfork();
                Way::Uring { ring: Box::new(builder.build(256)?), is_armed: false }
            }
        };
        Ok(Self { socket, deframer, way })
    }

    /// Waits for at most `patience`, and reads what is there.
    fn wait(&mut self, patience: Duration) -> anyhow::Result<Came> {
        match &mut self.way {
            Way::Recv => receive(&mut self.socket, &mut self.deframer),
            Way::Epoll(epoll) => {
                let mut events = [EpollEvent::empty()];
                let timeout = EpollTimeout::from(patience.as_millis() as u16);
                match epoll.wait(&mut events, timeout) {
                    Ok(0) | Err(Errno::EINTR) => Ok(Came::Nothing),
                    Ok(_) => receive(&mut self.socket, &mut self.deframer),
                    Err(error) => Err(error.into()),
                }
            }
            Way::Uring { ring, is_armed } => {
                if !*is_armed {
                    let space = self.deframer.space();
                    let receive = opcode::Recv::new(
                        Fd(self.socket.as_raw_fd()),
                        space.as_mut_ptr(),
                        space.len() as u32,
                    );
                    // SAFETY: the window is not touched while the receive is in flight, and outlives it: see `drop`.
                    unsafe { ring.submission().push(&receive.build()) }?;
                    *is_armed = true;
                }
                enter(ring, patience)?;
                let Some(done) = ring.completion().next() else { return Ok(Came::Nothing) };
                *is_armed = false;
                match done.result() {
                    0 => Ok(Came::End),
                    len @ 1.. => Ok(Came::Bytes(len as usize)),
                    error => Err(std::io::Error::from_raw_os_error(-error).into()),
                }
            }
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if matches!(self.way, Way::Uring { is_armed: true, .. }) {
            // The kernel may still write to it.
            std::mem::forget(std::mem::take(&mut self.deframer));
        }
        let _ = self.socket.shutdown(Shutdown::Both); // It may be gone already.
    }
}

fn enter(ring: &mut IoUring, patience: Duration) -> std::io::Result<()> {
    let time = Timespec::from(patience);
    let entered = if patience.is_zero() {
        ring.submitter().submit_with_args(0, &SubmitArgs::new())
    } else {
        ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time))
    };
    match entered {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

fn receive(socket: &mut TcpStream, deframer: &mut Deframer) -> anyhow::Result<Came> {
    match socket.read(deframer.space()) {
        Ok(0) => Ok(Came::End),
        Ok(len) => Ok(Came::Bytes(len)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(Came::Nothing)
        }
        Err(error) => Err(error.into()),
    }
}
