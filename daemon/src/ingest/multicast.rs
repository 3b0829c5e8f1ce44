//! The sockets of a MoldUDP64 feed, made on the cold plane: its lines, by multicast or unicast, and the one over which
//! missing messages are asked for.
//!
//! Their receive buffers are as large as the kernel grants: a datagram that finds no room there is lost.

use super::packets::Carries;
use anyhow::{Context, ensure};
use nix::sys::socket::sockopt::{IpAddMembership, RcvBuf, RcvBufForce, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, IpMembershipRequest, SockFlag, SockType, SockaddrStorage, bind, getsockopt, setsockopt,
    socket,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

/// What is asked of the kernel for each line: about a tenth of a second of a full 1 Gbit/s.
const BUFFER_BYTES: usize = 8 << 20;
/// With less than this it is worth a line in the log.
const LEAST_BUFFER_BYTES: usize = 1 << 20;

/// Where a MoldUDP64 feed is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MoldPlan {
    /// Where each line arrives: A, and B if there is one.
    pub(crate) lines: Vec<SocketAddr>,
    /// The retransmission server.
    pub(crate) requests: Option<SocketAddr>,
    /// The address of the interface on which multicast groups are joined; the kernel chooses one without it.
    pub(crate) interface: Option<Ipv4Addr>,
    /// Whether the session's beginning is asked for if it was missed.
    pub(crate) from_start: bool,
}

impl MoldPlan {
    /// How many sockets it takes.
    pub(crate) fn seats(&self) -> usize {
        self.lines.len() + usize::from(self.requests.is_some())
    }
}

/// Opens the socket of a seat: the lines in their order, then the requests'.
pub(super) fn open(plan: &MoldPlan, seat: usize) -> anyhow::Result<(OwnedFd, Carries)> {
    if let Some(address) = plan.lines.get(seat) {
        let what = || format!("cannot receive datagrams at {address}");
        return Ok((line(*address, plan.interface).with_context(what)?, Carries::MoldLine(seat)));
    }
    let server = plan.requests.context("there is no such line")?;
    let from: IpAddr = match (server.ip(), plan.interface) {
        (IpAddr::V4(_), Some(interface)) => interface.into(),
        (IpAddr::V4(_), None) => Ipv4Addr::UNSPECIFIED.into(),
        (IpAddr::V6(_), _) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let what = || format!("cannot ask {server} for missing messages");
    let socket = UdpSocket::bind((from, 0)).with_context(what)?;
    socket.connect(server).with_context(what)?;
    Ok((socket.into(), Carries::MoldRequests))
}

/// A socket that receives what is sent to `address`. Several may: a new configuration opens it before the old one ends.
fn line(address: SocketAddr, interface: Option<Ipv4Addr>) -> anyhow::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, ReuseAddr, &true)?;
    // Beyond the system's limit only with CAP_NET_ADMIN; else as much as that.
    if setsockopt(&socket, RcvBufForce, &BUFFER_BYTES).is_err() {
        setsockopt(&socket, RcvBuf, &BUFFER_BYTES)?;
    }
    let granted = getsockopt(&socket, RcvBuf)? / 2; // The kernel counts its own part, too.
    if granted < LEAST_BUFFER_BYTES {
        tracing::warn!(
            "{address}: only {} KiB may wait to be received; allow more with sysctl net.core.rmem_max={BUFFER_BYTES}",
            granted >> 10
        );
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    if address.ip().is_multicast() {
        let IpAddr::V4(group) = address.ip() else {
            anyhow::bail!("multicast is joined over IPv4 only");
        };
        ensure!(address.port() != 0, "a group needs a port");
        setsockopt(&socket, IpAddMembership, &IpMembershipRequest::new(group, interface))
            .context("the group cannot be joined; check interface")?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> MoldPlan {
        let address = |text: &str| text.parse().unwrap();
        let lines = vec![address("127.0.0.1:0"), address("127.0.0.1:0")];
        MoldPlan { lines, requests: Some(address("127.0.0.1:9")), interface: None, from_start: false }
    }

    #[test]
    fn each_seat_has_its_socket() {
        let plan = plan();
        assert_eq!(plan.seats(), 3);
        let roles: Vec<_> = (0..3).map(|seat| format!("{:?}", open(&plan, seat).unwrap().1)).collect();
        assert_eq!(roles, ["MoldLine(0)", "MoldLine(1)", "MoldRequests"]);
        let (socket, _) = open(&plan, 0).unwrap();
        assert!(getsockopt(&socket, RcvBuf).unwrap() >= 128 << 10, "it asks for a large buffer");
        let none = MoldPlan { requests: None, ..plan };
        assert!(none.seats() == 2 && open(&none, 2).is_err());
    }

    #[test]
    fn what_cannot_be_joined_is_said() {
        let lines = vec!["192.0.2.1:9".parse().unwrap()];
        let error = open(&MoldPlan { lines, ..plan() }, 0).unwrap_err();
        assert!(format!("{error:#}").contains("cannot receive datagrams at 192.0.2.1:9"), "{error:#}");
        let lines = vec!["239.255.0.1:9009".parse().unwrap()];
        let nowhere = Some(Ipv4Addr::new(192, 0, 2, 1));
        let error = open(&MoldPlan { lines, interface: nowhere, ..plan() }, 0).unwrap_err();
        assert!(format!("{error:#}").contains("check interface"), "{error:#}");
    }
}
