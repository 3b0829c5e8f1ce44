//! The network: what holds for all of it, such as busy polling and TCP. What holds for a card is in `cards`.
//!
//! What holds: these are sysctls, most of which each network namespace has its own of; the tuner sets those of the
//! namespace it runs in.

use crate::facts::Facts;
use crate::knob::{Accepts, Explain, Knob, Persist, Phase, Places, Proof};
use crate::place::{Form, Place};

mod cards;

/// The knobs of this area.
pub(super) const KNOBS: &[Knob] = &[
    BUSY_POLL,
    BUSY_READ,
    RPS_DEFAULT,
    SLOW_START,
    AUTOCORKING,
    FASTOPEN,
    NOTSENT,
    RMEM_MAX,
    WMEM_MAX,
    STATIC_KEY,
];
pub(super) use cards::KNOBS as CARDS;

/// Where the kernel describes `net.core` and `net.ipv4`.
const SYSCTL_NET: &str = "Documentation/admin-guide/sysctl/net.rst";
const IP_SYSCTL: &str = "Documentation/networking/ip-sysctl.rst";

/// A sysctl of busy polling, which a kernel may be without.
fn busy(facts: &Facts, name: &str) -> Places {
    match facts.kernel.option("NET_RX_BUSY_POLL") {
        Some("") => Places::NotSupported(match facts.kernel.is_rt {
            true => {
                "this real-time kernel has no busy polling (CONFIG_NET_RX_BUSY_POLL is not set), as Debian's"
                    .into()
            }
            false => "this kernel has no busy polling (CONFIG_NET_RX_BUSY_POLL is not set)".into(),
        }),
        _ => Places::one(Place::sysctl(name, Form::Number)),
    }
}

const BUSY_APPLIES: &str =
    "CONFIG_NET_RX_BUSY_POLL, which Debian's real-time kernels lack, and a driver with NAPI.";
const BUSY_RISK: &str = "A program that waits burns its CPU meanwhile, and every socket of the host is polled, not only the one that matters.";
const BUSY_WHEN_NOT: &str =
    "Where a program can ask for its own socket: SO_BUSY_POLL does the same without touching others.";

const BUSY_POLL: Knob = Knob {
    id: "net.busy.poll",
    title: "busy polling in poll and select, in us",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Number(0, 1_000_000),
    places: |facts| busy(facts, "net.core.busy_poll"),
    explain: Explain {
        mechanism: "poll() and select() ask the card's queue themselves for so long before they sleep, which spares the interrupt and the wake-up.",
        risk: BUSY_RISK,
        when_not: BUSY_WHEN_NOT,
        applies: BUSY_APPLIES,
        undo: "sysctl -w net.core.busy_poll= and the former number.",
        source: "Documentation/networking/napi.rst, busy polling; Documentation/admin-guide/sysctl/net.rst",
        proof: Proof::Untested,
    },
};

const BUSY_READ: Knob = Knob {
    id: "net.busy.read",
    title: "busy polling in reads of sockets, in us",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Number(0, 1_000_000),
    places: |facts| busy(facts, "net.core.busy_read"),
    explain: Explain {
        mechanism: "A read that finds nothing asks the card's queue itself for so long before it sleeps. New sockets take it over as their SO_BUSY_POLL.",
        risk: BUSY_RISK,
        when_not: BUSY_WHEN_NOT,
        applies: BUSY_APPLIES,
        undo: "sysctl -w net.core.busy_read= and the former number; sockets that are open keep theirs.",
        source: "Documentation/networking/napi.rst, busy polling; Documentation/admin-guide/sysctl/net.rst",
        proof: Proof::Untested,
    },
};

const RPS_DEFAULT: Knob = Knob {
    id: "net.steer.rps_default",
    title: "CPUs that new interfaces' packets are spread over",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::CpusOrNone,
    places: |_| Places::one(Place::sysctl("net.core.rps_default_mask", Form::CpuMask)),
    explain: Explain {
        mechanism: "Interfaces that come later, such as containers' veth pairs, take over this mask for their receive queues: with the housekeeping CPUs in it, their packets stay off the isolated ones.",
        risk: "Packets cross to another CPU by an interrupt between CPUs.",
        when_not: "Where no interface comes after boot.",
        applies: "Kernels since 6.3, in each network namespace. Interfaces that exist keep theirs: see net.steer.rps.",
        undo: "Write the former mask to /proc/sys/net/core/rps_default_mask.",
        source: SYSCTL_NET,
        proof: Proof::TestedVm,
    },
};

const SLOW_START: Knob = Knob {
    id: "tcp.slow_start_after_idle",
    title: "slow start of TCP after a pause",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Flag,
    places: |_| Places::one(Place::sysctl("net.ipv4.tcp_slow_start_after_idle", Form::Flag)),
    explain: Explain {
        mechanism: "After a pause TCP shrinks its congestion window, and the next burst takes several round trips. 0 keeps the window.",
        risk: "A burst into a path that has become narrow meanwhile loses packets.",
        when_not: "Over paths whose width changes a lot, such as mobile ones.",
        applies: "Every kernel, in each network namespace.",
        undo: "sysctl -w net.ipv4.tcp_slow_start_after_idle= and the former number.",
        source: IP_SYSCTL,
        proof: Proof::TestedVm,
    },
};

const AUTOCORKING: Knob = Knob {
    id: "tcp.autocorking",
    title: "gathering of small TCP writes",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Flag,
    places: |_| Places::one(Place::sysctl("net.ipv4.tcp_autocorking", Form::Flag)),
    explain: Explain {
        mechanism: "While an earlier packet of the flow waits in the card's queue, the kernel holds small writes back to send them together. 0 sends each at once.",
        risk: "More and smaller packets.",
        when_not: "Where throughput of many small writes counts.",
        applies: "Kernels since 3.14, in each network namespace. TCP_NODELAY of a socket does not turn it off.",
        undo: "sysctl -w net.ipv4.tcp_autocorking= and the former number.",
        source: IP_SYSCTL,
        proof: Proof::TestedVm,
    },
};

const FASTOPEN: Knob = Knob {
    id: "tcp.fastopen",
    title: "data in the first packet of a connection",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Number(0, 0x607),
    places: |_| Places::one(Place::sysctl("net.ipv4.tcp_fastopen", Form::Number)),
    explain: Explain {
        mechanism: "A connection to a known server carries data at once and saves a round trip. It is a sum of bits: 1 for clients, 2 for servers.",
        risk: "Some middleboxes drop such packets, and the connection then takes longer.",
        when_not: "With connections that are opened once and kept.",
        applies: "Every kernel, in each network namespace; programs on both sides must ask for it.",
        undo: "sysctl -w net.ipv4.tcp_fastopen= and the former number.",
        source: IP_SYSCTL,
        proof: Proof::TestedVm,
    },
};

const NOTSENT: Knob = Knob {
    id: "tcp.notsent_lowat",
    title: "unsent bytes that a TCP socket takes",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Number(0, u32::MAX as i64),
    places: |_| Places::one(Place::sysctl("net.ipv4.tcp_notsent_lowat", Form::Number)),
    explain: Explain {
        mechanism: "A socket counts as writable only while less than this waits unsent, so that what is written last does not queue behind what is stale.",
        risk: "More wake-ups of whoever sends a lot.",
        when_not: "With bulk transfers. A program does better to set TCP_NOTSENT_LOWAT itself.",
        applies: "Every kernel, in each network namespace.",
        undo: "sysctl -w net.ipv4.tcp_notsent_lowat= and the former number; 4294967295 stands for no limit.",
        source: IP_SYSCTL,
        proof: Proof::TestedVm,
    },
};

const RMEM_MAX: Knob = Knob {
    id: "net.rmem_max",
    title: "largest receive buffer that a program may ask for, in bytes",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Number(2304, i32::MAX as i64),
    places: |_| Places::one(Place::sysctl("net.core.rmem_max", Form::Number)),
    explain: Explain {
        mechanism: "Bursts of market data on UDP are lost where the socket's buffer is full; a program cannot ask for a larger one than this.",
        risk: "Memory that the sockets fill; a long queue is old data.",
        when_not: "Where no program asks for more (SO_RCVBUF).",
        applies: "Every kernel. Older kernels have one for all network namespaces, newer ones one for each.",
        undo: "sysctl -w net.core.rmem_max= and the former number; sockets that are open keep theirs.",
        source: SYSCTL_NET,
        proof: Proof::Untested,
    },
};

const WMEM_MAX: Knob = Knob {
    id: "net.wmem_max",
    title: "largest send buffer that a program may ask for, in bytes",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Number(4608, i32::MAX as i64),
    places: |_| Places::one(Place::sysctl("net.core.wmem_max", Form::Number)),
    explain: Explain {
        mechanism: "A send waits where the socket's buffer is full; a program cannot ask for a larger one than this.",
        risk: "Memory that the sockets fill; a long queue delays what is written last.",
        when_not: "Where no program asks for more (SO_SNDBUF).",
        applies: "Every kernel; as net.rmem_max.",
        undo: "sysctl -w net.core.wmem_max= and the former number; sockets that are open keep theirs.",
        source: SYSCTL_NET,
        proof: Proof::Untested,
    },
};

const STATIC_KEY: Knob = Knob {
    id: "net.static_key",
    title: "time stamps of packets that stay on",
    phase: Phase::Network,
    persist: Persist::Never,
    accepts: Accepts::Text,
    places: |_| {
        Places::Unknown("no file tells whether a program keeps the time stamps of packets turned on".into())
    },
    explain: Explain {
        mechanism: "The first socket that asks for time stamps has the kernel patch its own code, and the last one that closes again: each time every CPU is interrupted. A program that keeps such a socket open spares them that.",
        risk: "Each packet is stamped: some nanoseconds.",
        when_not: "Where no program turns time stamps on and off.",
        applies: "Every kernel with jump labels. The tuner keeps no process, so a service has to hold the socket (SO_TIMESTAMPING), as TuneD's rtentsk does.",
        undo: "There is nothing to undo.",
        source: "TuneD's rtentsk plugin; net/core/dev.c, net_enable_timestamp",
        proof: Proof::ReadOnly,
    },
};
