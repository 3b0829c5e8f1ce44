//! The way to a running daemon: its control socket.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use shm::control::{Op, Reply, Request};
use shm::frame::FrameReader;
use shm::market::MarketReader;
use shm::status::StatusReader;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

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

    /// Waits for at most `timeout`; false as soon as the daemon is gone, which the kernel reports unasked.
    pub fn is_alive(&self, timeout: Duration) -> bool {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::empty())];
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        !matches!(poll(&mut fds, timeout), Ok(1..))
    }
}

fn ask(socket: &OwnedFd, request: Request) -> Result<[OwnedFd; 2], ClientError> {
    request.send(socket.as_fd())?;
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    // The constant fits in the kernel's 31 bits of milliseconds.
    let timeout = PollTimeout::try_from(ANSWER_TIMEOUT).unwrap_or(PollTimeout::MAX);
    if poll(&mut fds, timeout).map_err(std::io::Error::from)? == 0 {
        return Err(ClientError::Silent);
    }
    let (reply, fds) = Reply::receive(socket.as_fd())?.ok_or(ClientError::Silent)?;
    if reply.magic != shm::control::MAGIC || reply.abi_major != shm::ABI_MAJOR {
        let theirs = format!("it speaks ABI {}, this program {}", reply.abi_major, shm::ABI_MAJOR);
        return Err(ClientError::Refused(theirs));
    }
    if reply.refused != 0 {
        return Err(ClientError::Refused(reply.reason.to_string()));
    }
    <[OwnedFd; 2]>::try_from(fds).map_err(|_| ClientError::Silent)
}
