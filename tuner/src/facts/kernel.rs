//! The kernel that runs, and how it was configured.

use super::Kernel;
use super::read::Files;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// No kernel's configuration is larger than this, unpacked.
const LARGEST_CONFIG_BYTES: u64 = 4 << 20;

pub(super) fn read(files: Files<'_>) -> Kernel {
    let word = |path: &str| files.word(path).unwrap_or_default();
    let release = word("/proc/sys/kernel/osrelease");
    let build = word("/proc/sys/kernel/version");
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
    Kernel {
        version: (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)),
        is_rt: build.contains("PREEMPT_RT") || word("/sys/kernel/realtime") == "1",
        config: config(files, &release),
        release,
        build,
        command_line: word("/proc/cmdline"),
        ..Kernel::default()
    }
}

/// The running kernel tells it itself if it was built with IKCONFIG_PROC; else distributions put it beside the kernel.
fn config(files: Files<'_>, release: &str) -> Option<BTreeMap<String, String>> {
    let told = files.0.bytes(Path::new("/proc/config.gz")).ok().and_then(|packed| unpack(&packed));
    let beside = || {
        let places = [format!("/boot/config-{release}"), format!("/usr/lib/modules/{release}/config")];
        places.iter().find_map(|path| files.text(path))
    };
    let option = |line: &str| {
        let (name, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
        Some((name.to_owned(), value.trim().trim_matches('"').to_owned()))
    };
    Some(told.or_else(beside)?.lines().filter_map(option).collect())
}

/// What is not packed is taken as it is: recorded machines have it as text.
pub(crate) fn unpack(packed: &[u8]) -> Option<String> {
    if !packed.starts_with(&[0x1f, 0x8b]) {
        return String::from_utf8(packed.to_vec()).ok();
    }
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).take(LARGEST_CONFIG_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}
