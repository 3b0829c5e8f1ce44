//! Takes out of a recorded machine what names it, its people and its network.
//!
//! What holds: of an environment, only what the facts look for is kept; of a command line, nothing behind `--`, and no
//! value that may be a name. Routes keep which interface leads where, between networks made up. UUIDs, identifiers of
//! 32 digits and more, MAC and IP addresses are replaced wherever they stand, also in paths, the same by the same.

use crate::facts::interfaces::{Route, best, client, routes};
use crate::facts::read::Files;
use crate::host::Recorded;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// Ends of paths of files that hold nothing but a name.
const NAMES: [&str; 8] = ["serial", "wwid", "eui", "nguid", "uuid", "hostname", "_serial", "asset_tag"];
/// Parameters of the kernel whose values may hold names of the machine, its network, or its volumes.
const NAMING: [&str; 14] = [
    "ip",
    "nfsroot",
    "nfsaddrs",
    "root",
    "resume",
    "systemd.hostname",
    "hostname",
    "cryptdevice",
    "init",
    "rdinit",
    "ifname",
    "rd.lvm.lv",
    "rd.luks.name",
    "netconsole",
];
/// Texts that a command line or the name of a volume stands in.
const LINES: [&str; 4] = ["/proc/cmdline", "/proc/swaps", "/etc/default/grub", "/boot/"];

/// The recorded machine as text, without names. `hostname` is the machine's own.
pub(super) fn redacted(mut recorded: Recorded, hostname: Option<&str>) -> String {
    let (tables, client) = disguised(&recorded);
    for (path, table) in tables {
        if let Some((_, text)) = recorded.files.get_mut(Path::new(path)) {
            *text = table;
        }
    }
    for (path, (_, text)) in &mut recorded.files {
        let path = path.to_str().unwrap_or_default();
        if path.starts_with("/proc/") && path.ends_with("/environ") {
            *text = environment(text, client);
        } else if path.starts_with("/proc/") && path.ends_with("/status") {
            *text = lines_with(text, &["Uid:", "PPid:"]);
        } else if path == "/proc/config.gz" || path.starts_with("/boot/config-") {
            *text = lines_with(text, &["CONFIG_"]);
        } else if path == "/proc/1/comm" && text.trim() != "systemd" {
            *text = "other\n".into();
        } else if NAMES.iter().any(|name| path.ends_with(name)) {
            *text = "redacted\n".into();
        } else if LINES.iter().any(|line| path.starts_with(line)) {
            *text = command_lines(text, hostname);
        }
    }
    Cleaner::default().clean(&recorded.to_string())
}

/// Routes between networks made up, and a client that is reached through the same one as the real client.
fn disguised(recorded: &Recorded) -> ([(&'static str, String); 2], Option<IpAddr>) {
    let routes = routes(Files(recorded));
    let network = |at: usize, host: u8| -> (Ipv4Addr, Ipv6Addr) {
        // 198.18.0.0/15 is for tests (RFC 2544), 2001:db8::/32 for documentation (RFC 3849).
        let [high, low] = (at as u16).to_be_bytes();
        (
            Ipv4Addr::new(198, 18 + (high & 1), low, host),
            Ipv6Addr::new(0x2001, 0xdb8, at as u16, 0, 0, 0, 0, host.into()),
        )
    };
    let client = client(Files(recorded)).map(|client| {
        let through = best(&routes, client).filter(|at| routes[*at].length > 0);
        let (v4, v6) =
            through.map_or((Ipv4Addr::new(203, 0, 113, 1), network(0xffff, 1).1), |at| network(at, 1));
        if client.is_ipv4() { IpAddr::from(v4) } else { v6.into() }
    });
    let (mut v4, mut v6) = (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n".to_owned(),
        String::new(),
    );
    for (at, Route { interface, length, metric, .. }) in routes.iter().enumerate() {
        let is_default = *length == 0;
        match routes[at].network {
            IpAddr::V4(_) => {
                let (network, mask) = if is_default {
                    (0, 0)
                } else {
                    (u32::from_ne_bytes(network(at, 0).0.octets()), u32::from_ne_bytes([255, 255, 255, 0]))
                };
                v4.push_str(&format!(
                    "{interface}\t{network:08X}\t00000000\t0001\t0\t0\t{metric}\t{mask:08X}\t0\t0\t0\n"
                ));
            }
            IpAddr::V6(_) => {
                let (network, length) = if is_default { (0, 0) } else { (network(at, 0).1.to_bits(), 48) };
                v6.push_str(&format!("{network:032x} {length:02x} {0:032x} 00 {0:032x} {metric:08x} 00000000 00000000 00000001 {interface}\n", 0));
            }
        }
    }
    ([("/proc/net/route", v4), ("/proc/net/ipv6_route", v6)], client)
}

/// Those lines that begin so.
fn lines_with(text: &str, beginnings: &[&str]) -> String {
    let has = |line: &&str| beginnings.iter().any(|beginning| line.starts_with(beginning));
    text.lines().filter(has).map(|line| format!("{line}\n")).collect()
}

fn environment(text: &str, client: Option<IpAddr>) -> String {
    let keep = |variable: &str| match client {
        Some(client) if variable.starts_with("SSH_CONNECTION=") => {
            Some(format!("SSH_CONNECTION={client} 1 {client} 22\0"))
        }
        _ => variable.starts_with("container=").then(|| format!("{variable}\0")),
    };
    text.split('\0').filter_map(keep).collect()
}

/// Words keep their place; what stands behind ` -- ` is for the first process, and may be anything.
fn command_lines(text: &str, hostname: Option<&str>) -> String {
    let line = |line: &str| {
        let own = line.split(" -- ").next().unwrap_or_default();
        let word = |word: &str| match word.split_once('=') {
            Some((name, _)) if NAMING.contains(&name) => format!("{name}=redacted"),
            _ => hostname.map_or_else(|| word.to_owned(), |hostname| without(word, hostname)),
        };
        own.split_inclusive([' ', '\t', '"', '\''])
            .map(|part| {
                let inner = part.trim_end_matches([' ', '\t', '"', '\'']);
                word(inner) + &part[inner.len()..]
            })
            .collect::<String>()
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// A word without a name in it, also as device mapper writes it, with dashes doubled.
fn without(word: &str, name: &str) -> String {
    let is_part = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
    let mut word = word.to_owned();
    for name in [name.to_owned(), name.replace('-', "--")] {
        let mut from = 0;
        while let Some(at) = word[from..].find(&name).map(|at| from + at) {
            let (before, after) = (word[..at].chars().next_back(), word[at + name.len()..].chars().next());
            if !is_part(before) && !is_part(after) {
                word.replace_range(at..at + name.len(), "host");
            }
            from = at + 4.min(name.len());
        }
    }
    word
}

/// Replaces identifiers, the same by the same.
#[derive(Default)]
struct Cleaner(BTreeMap<String, usize>);

impl Cleaner {
    fn clean(&mut self, text: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        let mut rest = text;
        let mut before = '\n';
        while let Some(letter) = rest.chars().next() {
            let is_start = !before.is_ascii_alphanumeric();
            let found = is_start.then(|| self.identifier(rest)).flatten();
            let (taken, put) = found.unwrap_or_else(|| (letter.len_utf8(), letter.to_string()));
            before = rest[..taken].chars().next_back().unwrap_or(letter);
            clean.push_str(&put);
            rest = &rest[taken..];
        }
        clean
    }

    /// What a text begins with, if it is an identifier: how long it is, and what stands for it.
    fn identifier(&mut self, text: &str) -> Option<(usize, String)> {
        if let Some(user) = text.strip_prefix("home/") {
            let length = user.find(['/', ' ', '\n', '\t', '"']).unwrap_or(user.len());
            return Some((5 + length, "home/user".into()));
        }
        let run = |is: fn(&char) -> bool| text.chars().take_while(is).count();
        let ends = |length: usize| !text[length..].starts_with(|letter: char| letter.is_ascii_alphanumeric());
        let hex = run(char::is_ascii_hexdigit);
        let dashed = run(|letter| letter.is_ascii_hexdigit() || *letter == '-');
        let coloned = run(|letter| letter.is_ascii_hexdigit() || *letter == ':');
        let dotted = run(|letter| letter.is_ascii_digit() || *letter == '.');
        let is_uuid = |text: &str| text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
        if dashed >= 36 && is_uuid(&text[..36]) && ends(36) {
            return Some((36, format!("00000000-0000-4000-8000-{:012x}", self.number(&text[..36]))));
        }
        // Of machines, boots, units and containers.
        if hex >= 32 && ends(hex) {
            return Some((hex, format!("{:032x}", self.number(&text[..hex]))));
        }
        if coloned == 17 && text[..17].split(':').map(str::len).eq([2; 6]) && ends(17) {
            let [_, _, _, _, _, a, b, c] = (self.number(&text[..17]) as u64).to_be_bytes();
            return Some((17, format!("02:00:00:{a:02x}:{b:02x}:{c:02x}")));
        }
        // The name that udev gives a card without a place: its address.
        if let Some(address) = text.strip_prefix("enx").and_then(|rest| rest.get(..12))
            && address.chars().all(|letter| letter.is_ascii_hexdigit())
            && ends(15)
        {
            return Some((15, format!("enx02{:010x}", self.number(address))));
        }
        self.address(text, dotted, coloned)
    }

    fn address(&mut self, text: &str, dotted: usize, coloned: usize) -> Option<(usize, String)> {
        let v4 = text[..dotted].trim_end_matches('.');
        if let Ok(address) = v4.parse::<Ipv4Addr>() {
            let is_own = matches!(address.octets(), [198, 18 | 19, ..] | [203, 0, 113, _] | [192, 0, 2, _]);
            let is_plain =
                is_own || address.is_loopback() || address.is_unspecified() || address.octets()[0] == 255;
            let put = if is_plain { v4.to_owned() } else { format!("192.0.2.{}", self.number(v4) % 256) };
            return Some((v4.len(), put));
        }
        let v6 = text[..coloned].trim_end_matches(':');
        let address = v6.parse::<Ipv6Addr>().ok().filter(|_| v6.matches(':').count() > 1)?;
        let is_plain = address.is_loopback() || address.segments()[..2] == [0x2001, 0xdb8];
        Some((v6.len(), if is_plain { v6.to_owned() } else { format!("2001:db8::{:x}", self.number(v6)) }))
    }

    fn number(&mut self, original: &str) -> usize {
        let next = self.0.len() + 1;
        *self.0.entry(original.to_ascii_lowercase()).or_insert(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_go_and_the_rest_stays() {
        let mut cleaner = Cleaner::default();
        let text = "root=UUID=8f0b9387-2017-f056-ea9a-88a2c0f4018a ro gnulinux-simple-8F0B9387-2017-f056-ea9a-88a2c0f4018a\n\
                    52:54:00:12:34:56 10.1.2.3:80 fe80::1234 3d1219c7c4c5404aaa1f6d2a48adfda4 127.0.0.1 /home/anna/x enx525400123456";
        let clean = cleaner.clean(text);
        assert_eq!(
            clean,
            "root=UUID=00000000-0000-4000-8000-000000000001 ro gnulinux-simple-00000000-0000-4000-8000-000000000001\n\
             02:00:00:00:00:02 192.0.2.3:80 2001:db8::4 00000000000000000000000000000005 127.0.0.1 /home/user/x enx020000000006"
        );
        let plain =
            "0000:01:00.0 6.1.0-38-amd64 ffffffff,00000001 12.2.0 irq/24 0x030000 [none] 12:34:56 a::b";
        assert_eq!(cleaner.clean(plain).replace("2001:db8::7", "a::b"), plain);
    }

    #[test]
    fn command_lines_lose_names_and_keep_settings() {
        let line = "BOOT_IMAGE=/vmlinuz root=/dev/mapper/ann--pc--vg-root ip=1.2.3.4::::ann-pc quiet isolcpus=2-3 lv=ann-pc-vg -- --token x\n";
        assert_eq!(
            command_lines(line, Some("ann-pc")),
            "BOOT_IMAGE=/vmlinuz root=redacted ip=redacted quiet isolcpus=2-3 lv=host-vg\n"
        );
        assert_eq!(without("/dev/mapper/ann--pc--vg-swap", "ann-pc"), "/dev/mapper/host--vg-swap");
        assert_eq!(without("vmlinuz vm-vg", "vm"), "vmlinuz host-vg");
    }
}
