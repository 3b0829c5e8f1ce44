//! The file of sysctls.

use super::Setting;
use crate::boot::HEADER;
use crate::knob::Persist;
use crate::place::Place;
use std::path::Path;

/// It is sorted behind those of distributions and of the user, since the last that names a sysctl wins.
pub(super) const PATH: &str = "/etc/sysctl.d/99-zz-tuner.conf";

/// Its text; none if there is nothing for it.
pub(super) fn text(settings: &[Setting]) -> Option<String> {
    let lines: Vec<_> = settings.iter().filter_map(line).collect();
    (!lines.is_empty()).then(|| format!("{HEADER}{}", lines.concat()))
}

fn line(setting: &Setting) -> Option<String> {
    let Place::Attribute { path, .. } = &setting.place else { return None };
    let name = name(path)?;
    let state = setting.state.as_deref()?;
    let is_one_line = !state.is_empty() && !state.contains(['\n', '\r', '\0']);
    // The dash: a kernel that lacks it, as a real-time one may, is no failure of the boot.
    (setting.persist == Persist::Sysctl && is_one_line).then(|| format!("-{name} = {state}\n"))
}

/// A sysctl's name. With blanks, stars or brackets it would mean something else in the file.
fn name(path: &Path) -> Option<String> {
    let parts = path.strip_prefix("/proc/sys").ok()?.to_str()?;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/_.-".contains(letter);
    // With slashes, a dot belongs to a name, such as that of eth0.100.
    let is_name = parts.contains('/') && parts.chars().all(is_plain);
    is_name.then(|| if parts.contains('.') { parts.into() } else { parts.replace('/', ".") })
}
