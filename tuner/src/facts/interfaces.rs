//! Network cards, and through which of them the person at the keyboard comes in.
//!
//! What holds: `sudo` may hide SSH_CONNECTION, so the environments of the processes above this one are asked, too. The
//! session goes where the kernel's routes send its answers; a bond, bridge or VLAN is as good as the cards below it.

use super::Interface;
use super::read::Files;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How many processes above this one are asked for their environment.
const MOST_ANCESTORS: usize = 16;
/// Flags of a route: it is in use; it rejects.
const IN_USE: u32 = 0x1;
const REJECTS: u32 = 0x200;

pub(super) fn read(files: Files<'_>) -> Vec<Interface> {
    let names = files.names("/sys/class/net");
    let of_session = session_interfaces(files, &names);
    let interface = |name: String| {
        let own = format!("/sys/class/net/{name}");
        // Virtual ones have no device.
        files.link(&format!("{own}/device"))?;
        // A virtio card's node is that of the PCI device above it.
        let node = ["numa_node", "../numa_node"]
            .iter()
            .find_map(|file| files.number(&format!("{own}/device/{file}")));
        Some(Interface {
            driver: files.link_name(&format!("{own}/device/driver")),
            node,
            carries_session: of_session.contains(&name),
            queues: files.names(&format!("{own}/queues")),
            name,
        })
    };
    names.iter().cloned().filter_map(interface).collect()
}

/// The interfaces that carry the session, and those below them.
fn session_interfaces(files: Files<'_>, names: &[String]) -> Vec<String> {
    let routes = routes(files);
    let by_client = client(files).and_then(|client| best(&routes, client)).map(|at| &routes[at].interface);
    let mut found: Vec<String> = match by_client {
        Some(interface) => vec![interface.clone()],
        None => {
            routes.iter().filter(|route| route.length == 0).map(|route| route.interface.clone()).collect()
        }
    };
    let mut next = 0;
    while let Some(above) = found.get(next) {
        let lower = files.names(&format!("/sys/class/net/{above}"));
        let lower = lower.iter().filter_map(|name| name.strip_prefix("lower_").map(str::to_owned));
        let lower: Vec<_> = lower.filter(|name| names.contains(name) && !found.contains(name)).collect();
        found.extend(lower);
        next += 1;
    }
    found
}

/// Where the session comes from, by the nearest process that knows.
pub(crate) fn client(files: Files<'_>) -> Option<IpAddr> {
    let mut process = "self".to_owned();
    for _ in 0..MOST_ANCESTORS {
        let environment = files.text(&format!("/proc/{process}/environ")).unwrap_or_default();
        let told = environment.split('\0').find_map(|variable| variable.strip_prefix("SSH_CONNECTION="));
        if let Some(client) = told.and_then(|told| told.split_whitespace().next()) {
            let client: IpAddr = client.split('%').next()?.parse().ok()?;
            return Some(client.to_canonical());
        }
        let status = files.text(&format!("/proc/{process}/status"))?;
        process = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().to_owned();
        if process == "0" {
            return None;
        }
    }
    None
}

/// Where packets for a network go.
pub(crate) struct Route {
    pub(crate) interface: String,
    pub(crate) network: IpAddr,
    /// How many bits of it count.
    pub(crate) length: u32,
    pub(crate) metric: u32,
}

pub(crate) fn routes(files: Files<'_>) -> Vec<Route> {
    let v4 = files.text("/proc/net/route").unwrap_or_default();
    let v6 = files.text("/proc/net/ipv6_route").unwrap_or_default();
    let found = v4.lines().skip(1).filter_map(v4_route).chain(v6.lines().filter_map(v6_route));
    found.filter(|route| route.interface != "lo").collect()
}

/// Interface, network, gateway, flags, two counts, metric, mask: addresses in hexadecimal, in the machine's byte order.
fn v4_route(line: &str) -> Option<Route> {
    let words: Vec<_> = line.split_whitespace().collect();
    let hex = |at: usize| u32::from_str_radix(words.get(at)?, 16).ok();
    (hex(3)? & (IN_USE | REJECTS) == IN_USE).then_some(())?;
    Some(Route {
        interface: (*words.first()?).into(),
        network: Ipv4Addr::from(hex(1)?.to_ne_bytes()).into(),
        length: hex(7)?.count_ones(),
        metric: words.get(6)?.parse().ok()?,
    })
}

/// Network and its length, source and its length, gateway, metric, two counts, flags, interface.
fn v6_route(line: &str) -> Option<Route> {
    let words: Vec<_> = line.split_whitespace().collect();
    let hex = |at: usize| u32::from_str_radix(words.get(at)?, 16).ok();
    (hex(8)? & (IN_USE | REJECTS) == IN_USE).then_some(())?;
    Some(Route {
        interface: (*words.get(9)?).into(),
        network: Ipv6Addr::from(u128::from_str_radix(words.first()?, 16).ok()?).into(),
        length: hex(1)?,
        metric: hex(5)?,
    })
}

/// Which route an address takes: that of the longest network that has it, then that of the least metric.
pub(crate) fn best(routes: &[Route], address: IpAddr) -> Option<usize> {
    let fits = |route: &Route| {
        let alike = match (route.network, address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
            (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
            _ => return false,
        };
        alike >= route.length
    };
    let fitting = routes.iter().enumerate().filter(|(_, route)| fits(route));
    let best = fitting.min_by_key(|(_, route)| (std::cmp::Reverse(route.length), route.metric));
    best.map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_reached_through_the_longest_network() {
        let v4 = [
            "eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0",
            "eth1\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0",
        ];
        let v6 = "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth2";
        let rejecting = v6.replace("00000001     eth2", "00000201     eth3").replace(" 40 ", " 50 ");
        let routes: Vec<_> = v4
            .iter()
            .filter_map(|line| v4_route(line))
            .chain([v6, &rejecting].into_iter().filter_map(v6_route))
            .collect();
        let found =
            |address: &str| best(&routes, address.parse().unwrap()).map(|at| routes[at].interface.as_str());
        assert_eq!(found("10.0.0.7"), Some("eth1"));
        assert_eq!(found("10.0.1.7"), Some("eth0"));
        assert_eq!(found("fd00::1"), Some("eth2"));
        assert_eq!(found("2001:db8::1"), None);
    }
}
