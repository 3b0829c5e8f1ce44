//! The way to a running daemon: its control socket.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use shm::control::{Adjustment, Op, Reply, Request};
use shm::frame::{FrameReader, LeasingReader};
use shm::market::MarketReader;
use shm::status::StatusReader;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the daemon may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the daemon cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens at the socket.
    #[error(
        "no chartd answers at {path} (start one with `chartd demo` or `chartd run`, or name its socket with --socket)"
    )]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// The kernel's reason.
        source: nix::Error,
    },
    /// The daemon refused.
    #[error("chartd refused: {0}")]
    Refused(String),
    /// The daemon went away, or does not answer.
    #[error("chartd closed the connection or did not answer in time")]
    Silent,
    /// The conversation broke.
    #[error("the conversation with chartd broke")]
    Broken(#[from] std::io::Error),
    /// What the daemon handed over cannot be used.
    #[error(transparent)]
    Segment(#[from] shm::ShmError),
}

/// The system's socket, which the service listens at.
const SYSTEM_SOCKET: &str = "/run/chartd/chartd.sock";

/// Where a daemon of this user listens if nobody says otherwise: the system's place for root, else the user's
/// runtime directory, else a folder in the user's home. Others can write to none of them.
pub fn own_socket() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return SYSTEM_SOCKET.into();
    }
    match (std::env::var_os("XDG_RUNTIME_DIR"), std::env::var_os("HOME")) {
        (Some(dir), _) => PathBuf::from(dir).join("chartd.sock"),
        (None, Some(home)) => PathBuf::from(home).join(".cache/chartd/chartd.sock"),
        (None, None) => SYSTEM_SOCKET.into(),
    }
}

/// Where a reader looks for a daemon: `$CHARTD_SOCKET`, the user's own, or the system's.
pub fn default_socket() -> PathBuf {
    if let Some(path) = std::env::var_os("CHARTD_SOCKET") {
        return path.into();
    }
    Some(own_socket()).filter(|path| path.exists()).unwrap_or_else(|| SYSTEM_SOCKET.into())
}

/// A connection to a daemon, with its status and market segments.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    status: StatusReader,
    market: MarketReader,
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The chart's latest frame has this number, which is at least the one that was waited for.
    Frame(u64),
    /// The daemon runs a new configuration: [`Connection::renew`], and open the chart again.
    Reconfigured,
    /// Nothing came in time.
    TimedOut,
}

impl Connection {
    /// Connects to the daemon at `path`, or at [`default_socket`].
    pub fn open(path: Option<&Path>) -> Result<Self, ClientError> {
        let path = path.map_or_else(default_socket, Path::to_owned);
        let unreachable = |source| ClientError::Unreachable { path: path.clone(), source };
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).map_err(unreachable)?;
        let address = UnixAddr::new(&path).map_err(unreachable)?;
        connect(socket.as_raw_fd(), &address).map_err(unreachable)?;
        let [status, market] = ask(&socket, Request::new(Op::Hello, ""))?;
        Ok(Self { status: StatusReader::open(status)?, market: MarketReader::open(market)?, socket })
    }

    /// Gets the segments of the configuration that the daemon runs now.
    pub fn renew(&mut self) -> Result<(), ClientError> {
        let [status, market] = ask(&self.socket, Request::new(Op::Hello, ""))?;
        (self.status, self.market) = (StatusReader::open(status)?, MarketReader::open(market)?);
        Ok(())
    }

    /// The daemon's condition and its list of charts.
    pub fn status(&self) -> &StatusReader {
        &self.status
    }

    /// Quotes, ticks and candles.
    pub fn market(&self) -> &MarketReader {
        &self.market
    }

    /// The frames of the chart with that name.
    pub fn chart(&self, name: &str) -> Result<FrameReader, ClientError> {
        let [control, pixels] = ask(&self.socket, Request::new(Op::Open, name))?;
        Ok(FrameReader::open(control, pixels)?)
    }

    /// The frames of the chart with that name, to be used in place. The daemon grants few leases on each chart.
    pub fn leased_chart(&self, name: &str) -> Result<LeasingReader, ClientError> {
        let reader = self.chart(name)?;
        let [page] = ask(&self.socket, Request::new(Op::Lease, name))?;
        Ok(reader.with_lease(page)?)
    }

    /// Sleeps until the chart has frame `number` or a later one, at most for `timeout`.
    ///
    /// An error says that the daemon is gone, which it tells at once.
    pub fn wait(&self, chart: &str, number: u64, timeout: Duration) -> Result<Waited, ClientError> {
        Request { number, ..Request::new(Op::Wait, chart) }.send(self.socket.as_fd())?;
        let deadline = Instant::now() + timeout;
        loop {
            let Some(reply) = next_reply(&self.socket, deadline)? else {
                return Ok(Waited::TimedOut);
            };
            let (reply, _) = reply;
            match reply.op {
                op if op == Op::Reconfigured as u64 => return Ok(Waited::Reconfigured),
                op if op != Op::Wait as u64 => {}
                _ if reply.refused != 0 => return Err(ClientError::Refused(reply.reason.to_string())),
                // An answer to an earlier wait may have been on its way.
                _ if reply.chart.to_string() == chart && reply.number >= number => {
                    return Ok(Waited::Frame(reply.number));
                }
                _ => {}
            }
        }
    }

    /// Changes what a chart shows, for everybody. Returns how many adjustments of it there were with this one: the first
    /// frame whose [`adjustments`](shm::frame::FrameInfo::adjustments) are as many shows it.
    pub fn adjust(&self, chart: &str, adjustment: &Adjustment) -> Result<u64, ClientError> {
        let (reply, []) = ask_for(&self.socket, Request::adjust(chart, adjustment))?;
        Ok(reply.number)
    }

    /// Waits for at most `timeout`; false as soon as the daemon is gone, which the kernel reports unasked.
    pub fn is_alive(&self, timeout: Duration) -> bool {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::empty())];
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        !matches!(poll(&mut fds, timeout), Ok(1..))
    }
}

/// Asks for `N` descriptors.
fn ask<const N: usize>(socket: &OwnedFd, request: Request) -> Result<[OwnedFd; N], ClientError> {
    ask_for(socket, request).map(|(_, fds)| fds)
}

/// Asks for an answer with `N` descriptors.
fn ask_for<const N: usize>(socket: &OwnedFd, request: Request) -> Result<(Reply, [OwnedFd; N]), ClientError> {
    request.send(socket.as_fd())?;
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    loop {
        let (reply, fds) = next_reply(socket, deadline)?.ok_or(ClientError::Silent)?;
        // What comes unasked says nothing that the reader's segments do not say too.
        if reply.op != request.op {
            continue;
        }
        if reply.refused != 0 {
            return Err(ClientError::Refused(reply.reason.to_string()));
        }
        return <[OwnedFd; N]>::try_from(fds).map(|fds| (reply, fds)).map_err(|_| ClientError::Silent);
    }
}

/// The next reply; `None` if it does not come in time.
fn next_reply(socket: &OwnedFd, deadline: Instant) -> Result<Option<(Reply, Vec<OwnedFd>)>, ClientError> {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let left = deadline.saturating_duration_since(Instant::now());
    // In whole milliseconds, rounded up, so that a short wait is not a busy one.
    let left = left.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(0) => return Ok(None),
        Err(nix::Error::EINTR) => return Ok(None),
        other => other.map_err(std::io::Error::from)?,
    };
    let (reply, fds) = Reply::receive(socket.as_fd())?.ok_or(ClientError::Silent)?;
    if reply.magic != shm::control::MAGIC || reply.abi_major != shm::ABI_MAJOR {
        let theirs = format!("it speaks ABI {}, this program {}", reply.abi_major, shm::ABI_MAJOR);
        return Err(ClientError::Refused(theirs));
    }
    Ok(Some((reply, fds)))
}
