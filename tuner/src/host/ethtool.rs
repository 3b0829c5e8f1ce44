//! Settings of network cards through the ioctl that ethtool uses.
//!
//! What holds: what a driver does not offer is none, not an error. A change reads the whole structure, changes one
//! field and writes it back, so that everything else in it stays as it was. The structures are those of
//! `linux/ethtool.h`, whose layout the kernel promises; nothing but 32-bit words is in them.

use super::{HostError, HostErrorKind, NicItem};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// What the ioctl takes: the structure of one setting, behind whose command the kernel looks for its fields.
///
/// # Safety
///
/// The type is `repr(C)`, consists of 32-bit words, begins with the command, and is at least as large as what the
/// kernel reads and writes for [`Self::GET`] and [`Self::SET`].
unsafe trait Structure: Copy {
    /// The command that reads it.
    const GET: u32;
    /// The command that writes it.
    const SET: u32;
    /// With this command and nothing else.
    fn new(command: u32) -> Self;
    /// With another command.
    fn with(self, command: u32) -> Self;
}

/// Declares a structure, the commands it goes with, and its size in the kernel.
macro_rules! structure {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, get $get:literal, set $set:literal,
     { $($field:ident: $kind:ty),* $(,)? }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, Default)]
        struct $name {
            command: u32,
            $($field: $kind),*
        }

        const _: () = assert!(size_of::<$name>() == $bytes);

        // SAFETY: `repr(C)` of words, the command first; the size is that of the kernel's structure for both commands.
        unsafe impl Structure for $name {
            const GET: u32 = $get;
            const SET: u32 = $set;
            fn new(command: u32) -> Self {
                Self { command, ..Self::default() }
            }
            fn with(self, command: u32) -> Self {
                Self { command, ..self }
            }
        }
    };
}

structure!(
    /// `ethtool_coalesce`.
    Coalesce, 92, get 0x0e, set 0x0f,
    { rx_usecs: u32, until_adaptive: [u32; 8], adaptive_rx: u32, adaptive_tx: u32, rates: [u32; 11] }
);
structure!(
    /// `ethtool_ringparam`.
    Rings, 36, get 0x10, set 0x11,
    { rx_most: u32, other_most: [u32; 3], rx: u32, others: [u32; 3] }
);
structure!(
    /// `ethtool_channels`.
    Channels, 36, get 0x3c, set 0x3d,
    { other_most: [u32; 3], combined_most: u32, others: [u32; 3], combined: u32 }
);
structure!(
    /// `ethtool_pauseparam`.
    Pause, 16, get 0x12, set 0x13,
    { negotiated: u32, rx: u32, tx: u32 }
);
structure!(
    /// `ethtool_eee`.
    Eee, 40, get 0x44, set 0x45,
    { link_modes: [u32; 3], active: u32, enabled: u32, lpi: [u32; 2], reserved: [u32; 2] }
);
structure!(
    /// `ethtool_wolinfo`; its last field is a password of six bytes, padded to words.
    Wake, 20, get 0x05, set 0x06,
    { supported: u32, by: u32, password: [u32; 2] }
);
structure!(
    /// `ethtool_value` for the flags that stand for several features.
    Flags, 8, get 0x25, set 0x26, { bits: u32 }
);
structure!(
    /// `ethtool_value` for generic receive offload.
    Gro, 8, get 0x2b, set 0x2c, { is_on: u32 }
);

/// `SIOCETHTOOL` of `linux/sockios.h`.
const ETHTOOL: libc::Ioctl = 0x8946;
/// `ETH_FLAG_LRO`.
const LRO: u32 = 1 << 15;
/// Letters for what may wake a machine, by their bit: `WAKE_PHY` is the first.
const WAKERS: [char; 8] = ['p', 'u', 'm', 'b', 'a', 'g', 's', 'f'];

/// A setting as text; none if there is no such interface, or its driver has no such setting.
pub(super) fn get(interface: &str, item: NicItem) -> Result<Option<String>, HostError> {
    match Card::open(interface).and_then(|card| card.get(item)) {
        Err(error) if matches!(error.kind, HostErrorKind::NotSupported | HostErrorKind::Absent) => Ok(None),
        other => other,
    }
}

/// Changes a setting. What follows from it may come later: a card may negotiate its link anew.
pub(super) fn set(interface: &str, item: NicItem, value: &str) -> Result<(), HostError> {
    Card::open(interface)?.set(item, value)
}

/// An interface, and a socket to ask about it.
struct Card<'a> {
    interface: &'a str,
    socket: OwnedFd,
}

impl<'a> Card<'a> {
    fn open(interface: &'a str) -> Result<Self, HostError> {
        let subject = Path::new(interface);
        let is_name = !interface.is_empty() && interface.len() < libc::IFNAMSIZ && !interface.contains('\0');
        if !is_name {
            return Err(HostError::new(subject, HostErrorKind::Absent, "it is no interface's name"));
        }
        // SAFETY: no pointers go in; what comes out is checked.
        let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(HostError::of(subject, &io::Error::last_os_error()));
        }
        // SAFETY: the descriptor was just made, and nobody else has it.
        Ok(Self { interface, socket: unsafe { OwnedFd::from_raw_fd(socket) } })
    }

    fn get(&self, item: NicItem) -> Result<Option<String>, HostError> {
        Ok(match item {
            NicItem::RxUsecs => Some(self.read::<Coalesce>()?.rx_usecs.to_string()),
            NicItem::AdaptiveRx => Some(on_off(self.read::<Coalesce>()?.adaptive_rx)),
            NicItem::CombinedChannels => {
                let channels = self.read::<Channels>()?;
                (channels.combined_most > 0).then(|| channels.combined.to_string())
            }
            NicItem::RxRing => {
                let rings = self.read::<Rings>()?;
                (rings.rx_most > 0).then(|| rings.rx.to_string())
            }
            NicItem::Lro => Some(on_off(self.read::<Flags>()?.bits & LRO)),
            NicItem::Gro => Some(on_off(self.read::<Gro>()?.is_on)),
            NicItem::Eee => Some(on_off(self.read::<Eee>()?.enabled)),
            NicItem::RxPause => Some(on_off(self.read::<Pause>()?.rx)),
            NicItem::WakeOnLan => {
                let wake = self.read::<Wake>()?;
                (wake.supported != 0).then(|| letters(wake.by))
            }
        })
    }

    fn set(&self, item: NicItem, value: &str) -> Result<(), HostError> {
        let number = || value.parse::<u32>().map_err(|_| self.refuses(value));
        let flag = || match value {
            "on" => Ok(1),
            "off" => Ok(0),
            _ => Err(self.refuses(value)),
        };
        match item {
            NicItem::RxUsecs => number().and_then(|rx_usecs| self.change(|is| Coalesce { rx_usecs, ..is })),
            NicItem::AdaptiveRx => {
                flag().and_then(|adaptive_rx| self.change(|is| Coalesce { adaptive_rx, ..is }))
            }
            NicItem::CombinedChannels => {
                number().and_then(|combined| self.change(|is| Channels { combined, ..is }))
            }
            NicItem::RxRing => number().and_then(|rx| self.change(|is| Rings { rx, ..is })),
            NicItem::Lro => {
                let bits = |is: Flags, on: u32| (is.bits & !LRO) | (LRO * on);
                flag().and_then(|on| self.change(|is: Flags| Flags { bits: bits(is, on), ..is }))
            }
            NicItem::Gro => flag().and_then(|is_on| self.change(|is| Gro { is_on, ..is })),
            NicItem::Eee => flag().and_then(|enabled| self.change(|is| Eee { enabled, ..is })),
            NicItem::RxPause => flag().and_then(|rx| self.change(|is| Pause { rx, ..is })),
            NicItem::WakeOnLan => {
                let by = bits(value).ok_or_else(|| self.refuses(value))?;
                self.change(|is| Wake { by, ..is })
            }
        }
    }

    fn refuses(&self, value: &str) -> HostError {
        let said = format!("'{value}' is no value for it");
        HostError::new(Path::new(self.interface), HostErrorKind::Invalid, said)
    }

    fn read<S: Structure>(&self) -> Result<S, HostError> {
        self.ask(S::new(S::GET))
    }

    fn change<S: Structure>(&self, changed: impl Fn(S) -> S) -> Result<(), HostError> {
        self.ask(changed(self.read()?).with(S::SET)).map(drop)
    }

    /// Has the kernel carry out the command in a structure, and returns what it made of the structure.
    fn ask<S: Structure>(&self, mut structure: S) -> Result<S, HostError> {
        // SAFETY: a request of zeros is a valid one: an empty name and a null pointer.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The name is shorter than its room: `open` saw to it. So a zero ends it.
        for (room, byte) in request.ifr_name.iter_mut().zip(self.interface.bytes()) {
            *room = byte.cast_signed();
        }
        request.ifr_ifru.ifru_data = (&raw mut structure).cast();
        // SAFETY: the request outlives the call, as does the structure it points to. `Structure` says that this one is
        // what its command reads and writes, and any words are valid in it.
        let outcome = unsafe { libc::ioctl(self.socket.as_raw_fd(), ETHTOOL, &raw mut request) };
        match outcome {
            0.. => Ok(structure),
            _ => Err(HostError::of(Path::new(self.interface), &io::Error::last_os_error())),
        }
    }
}

fn on_off(word: u32) -> String {
    if word == 0 { "off".into() } else { "on".into() }
}

/// The letters of what wakes a machine; `d` for nothing.
fn letters(by: u32) -> String {
    let set = WAKERS.iter().enumerate().filter(|(bit, _)| by >> bit & 1 == 1);
    let letters: String = set.map(|(_, letter)| letter).collect();
    if letters.is_empty() { "d".into() } else { letters }
}

fn bits(letters: &str) -> Option<u32> {
    let bit = |letter: char| WAKERS.iter().position(|known| *known == letter).map(|bit| 1 << bit);
    match letters {
        "d" => Some(0),
        "" => None,
        some => some.chars().try_fold(0, |bits, letter| Some(bits | bit(letter)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wakes_a_machine_is_letters_as_ethtool_has_them() {
        assert_eq!(letters(0), "d");
        assert_eq!(letters(0x20), "g");
        assert_eq!(letters(0xff), "pumbagsf");
        for by in 0..=0xff {
            assert_eq!(bits(&letters(by)), Some(by));
        }
        assert_eq!((bits(""), bits("x"), bits("gd")), (None, None, None));
    }

    #[test]
    fn an_interface_that_is_not_there_has_no_settings() {
        for name in ["no-such-card", "", "a-name-that-is-too-long-for-the-kernel", "lo\0"] {
            assert_eq!(get(name, NicItem::Gro), Ok(None), "{name}");
            assert_eq!(set(name, NicItem::Gro, "on").unwrap_err().kind, HostErrorKind::Absent, "{name}");
        }
    }

    /// Loopback is on every machine; its driver has offloads and nothing else.
    #[test]
    fn loopback_tells_what_it_has() {
        assert_eq!(get("lo", NicItem::Gro), Ok(Some("on".into())));
        assert_eq!(get("lo", NicItem::Lro), Ok(Some("off".into())));
        for item in
            [NicItem::RxUsecs, NicItem::CombinedChannels, NicItem::RxRing, NicItem::Eee, NicItem::RxPause]
        {
            assert_eq!(get("lo", item), Ok(None), "{item}");
        }
        assert_eq!(set("lo", NicItem::Gro, "maybe").unwrap_err().kind, HostErrorKind::Invalid);
        assert_eq!(set("lo", NicItem::RxUsecs, "3").unwrap_err().kind, HostErrorKind::NotSupported);
    }
}
