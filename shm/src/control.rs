//! The control socket: how a reader gets its descriptors, and how it waits for a frame.
//!
//! A `SOCK_SEQPACKET` Unix socket. The reader sends [`Request`]s, the daemon answers each with one [`Reply`] that may
//! carry descriptors (`SCM_RIGHTS`). The first request must be [`Op::Hello`]: it tells the versions, and its answer
//! carries the status and market segments. Nothing is handed over before permission. Reading needs no message at all.
//!
//! Two replies come by themselves: [`Op::Wait`] is answered once when the frame is there, which may be at once or
//! never; and [`Op::Reconfigured`] tells that the daemon runs a new configuration: the segments that the reader has
//! stay readable and change no more, and another hello gets the new ones.

use crate::adjust::AdjustWords;
pub use crate::adjust::{Adjustment, AdjustmentError};
use crate::record::{Text, record};
use crate::{ABI_MAJOR, ABI_MINOR};
use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The first word of every message: "chartdC3".
pub const MAGIC: u64 = u64::from_le_bytes(*b"chartdC3");

/// What a reader wants, and what a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Op {
    /// Exchange versions; get the status and market segments.
    Hello = 1,
    /// Get the frame segments of one chart.
    Open = 2,
    /// Get a page to lease slots of one chart with.
    Lease = 3,
    /// Be told when frame `number` of one chart, or a later one, is there. Replaces an earlier wait for the chart.
    Wait = 4,
    /// Only ever a reply: there is a new configuration.
    Reconfigured = 5,
    /// Change what one chart shows, for everybody: [`Adjustment`].
    Adjust = 6,
}

record! {
    /// What a reader asks.
    pub struct Request {
        /// [`MAGIC`].
        pub magic: u64,
        /// The reader's [`ABI_MAJOR`].
        pub abi_major: u64,
        /// The reader's [`ABI_MINOR`].
        pub abi_minor: u64,
        /// [`Op`].
        pub op: u64,
        /// For [`Op::Wait`]: the number of the frame.
        pub number: u64,
        /// The chart's name, but for [`Op::Hello`].
        pub chart: Text<8>,
        /// For [`Op::Adjust`]: what to change, else zeros.
        pub adjustment: AdjustWords,
    }
}

record! {
    /// What the daemon answers.
    pub struct Reply {
        /// [`MAGIC`].
        pub magic: u64,
        /// The daemon's [`ABI_MAJOR`].
        pub abi_major: u64,
        /// The daemon's [`ABI_MINOR`].
        pub abi_minor: u64,
        /// [`Op`] of the request that it answers.
        pub op: u64,
        /// Zero if the request was granted.
        pub refused: u64,
        /// For [`Op::Wait`]: the number of the chart's latest frame. For [`Op::Adjust`]: the first frame with so many
        /// [`adjustments`](crate::frame::FrameInfo::adjustments) shows this one.
        pub number: u64,
        /// Which configuration the daemon runs, from 1.
        pub generation: u64,
        /// For [`Op::Wait`] and [`Op::Adjust`]: the chart's name.
        pub chart: Text<8>,
        /// Why the request was refused, in a sentence.
        pub reason: Text<24>,
    }
}

impl Request {
    /// A request of this version.
    pub fn new(op: Op, chart: &str) -> Self {
        Self {
            magic: MAGIC,
            abi_major: ABI_MAJOR,
            abi_minor: ABI_MINOR,
            op: op as u64,
            number: 0,
            chart: Text::new(chart),
            adjustment: AdjustWords::default(),
        }
    }

    /// A request to adjust a chart.
    pub fn adjust(chart: &str, adjustment: &Adjustment) -> Self {
        Self { adjustment: adjustment.words(), ..Self::new(Op::Adjust, chart) }
    }

    /// Sends it.
    pub fn send(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        send_words(socket, &self.to_words(), &[])
    }

    /// Receives one. `None` when the peer has closed. Descriptors that come along are closed by the kernel.
    pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let received = receive_words(socket, false)?;
        Ok(received.map(|(words, _)| Self::from_words(&words)))
    }
}

impl Reply {
    /// The request is granted.
    pub fn granted(op: u64, generation: u64) -> Self {
        Self {
            magic: MAGIC,
            abi_major: ABI_MAJOR,
            abi_minor: ABI_MINOR,
            op,
            refused: 0,
            number: 0,
            generation,
            chart: Text::new(""),
            reason: Text::new(""),
        }
    }

    /// The request is refused.
    pub fn refused(op: u64, reason: &str) -> Self {
        Self { refused: 1, reason: Text::new(reason), ..Self::granted(op, 0) }
    }

    /// Sends it, without waiting for a peer that does not read.
    pub fn send(self, socket: BorrowedFd<'_>, fds: &[OwnedFd]) -> io::Result<()> {
        send_words(socket, &self.to_words(), fds)
    }

    /// Receives one, with the descriptors that come along. `None` when the daemon has closed.
    pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(Self, Vec<OwnedFd>)>> {
        let received = receive_words(socket, true)?;
        Ok(received.map(|(words, fds)| (Self::from_words(&words), fds)))
    }
}

fn send_words(socket: BorrowedFd<'_>, words: &[u64], fds: &[OwnedFd]) -> io::Result<()> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let rights = if raw.is_empty() { &[][..] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&bytes)], rights, flags, None)?;
    Ok(())
}

/// As many descriptors as the kernel lets anybody send at once (SCM_MAX_FD): so none is lost for want of room.
const MOST_FDS: usize = 253;

/// Receives exactly `N` words, and descriptors if they are wanted. Without room for them the kernel closes them.
fn receive_words<const N: usize>(
    socket: BorrowedFd<'_>,
    wants_fds: bool,
) -> io::Result<Option<([u64; N], Vec<OwnedFd>)>> {
    let mut bytes = vec![0u8; 8 * N];
    let mut space = cmsg_space!([RawFd; MOST_FDS]);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let space = wants_fds.then_some(&mut space[..]);
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, space, MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    if wants_fds {
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = part {
                // SAFETY: the kernel has just made these descriptors for this process, and nobody else owns them.
                fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
    }
    let (len, truncated) = (message.bytes, message.flags.contains(MsgFlags::MSG_TRUNC));
    if len == 0 {
        return Ok(None);
    }
    if truncated || len != 8 * N {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a control message has the wrong size"));
    }
    let mut words = bytes.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk));
    Ok(Some((core::array::from_fn(|_| words.next().unwrap_or(0)), fds)))
}
