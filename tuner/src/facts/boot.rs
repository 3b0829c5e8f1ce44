//! How the host boots, and with which command line the next time.

use super::read::Files;
use super::{Boot, Loader};
use crate::boot as grub;
use crate::boot::menu::{Item, Menu};

/// Where systemd-boot and, of late, GRUB leave their name for the system that they start.
const LOADER_INFO: &str = "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const DEFAULTS: &str = "/etc/default/grub";

pub(super) fn read(files: Files<'_>, command_line: &str) -> Boot {
    let names = files.names("/boot");
    let kernels = names.iter().filter_map(|name| name.strip_prefix("vmlinuz-")).map(str::to_owned).collect();
    let loader = loader(files, command_line);
    let unread = Boot { loader, kernels, ..Boot::default() };
    match files.text(grub::GRUB_CFG) {
        _ if loader != Loader::Grub => unread,
        None => Boot { next_command_line: from_defaults(files), ..unread },
        Some(text) => {
            let menu = Menu::parse(&text);
            let next = grub::default_entry(files.0, &menu).ok().map(|found| found.entry);
            Boot {
                next_command_line: next.and_then(Item::command_line),
                next_kernel: next.and_then(Item::release).map(str::to_owned),
                ..unread
            }
        }
    }
}

/// GRUB puts BOOT_IMAGE on every command line: without it, its files are there, but something else loaded the kernel.
fn loader(files: Files<'_>, command_line: &str) -> Loader {
    let is_debians = files.text(DEFAULTS).is_some() && !files.names("/boot/grub").is_empty();
    let info = files.text(LOADER_INFO).unwrap_or_default().replace('\0', "");
    let has_image = command_line.split_whitespace().any(|word| word.starts_with("BOOT_IMAGE="));
    match info.contains("systemd-boot") {
        true => Loader::SystemdBoot,
        false if is_debians && has_image => Loader::Grub,
        false => Loader::Unknown,
    }
}

/// What grub.cfg is made from, where that is only for root to read: without what grub-mkconfig adds, such as root=.
fn from_defaults(files: Files<'_>) -> Option<String> {
    let mut texts = vec![files.text(DEFAULTS)?];
    let folder = format!("{DEFAULTS}.d");
    let drop_ins = files.names(&folder).into_iter().filter(|name| name.ends_with(".cfg"));
    for name in drop_ins {
        texts.push(files.text(&format!("{folder}/{name}"))?);
    }
    // The longer name first: the other is its beginning.
    let mut variables =
        [("GRUB_CMDLINE_LINUX_DEFAULT", String::new()), ("GRUB_CMDLINE_LINUX", String::new())];
    for line in texts.iter().flat_map(|text| text.lines()).map(str::trim) {
        let Some((name, value)) = line.strip_prefix("export ").unwrap_or(line).split_once('=') else {
            continue;
        };
        let Some(which) = variables.iter().position(|(known, _)| *known == name) else { continue };
        let mut value = unquoted(value)?;
        for (name, known) in &variables {
            value = value.replace(&format!("${{{name}}}"), known).replace(&format!("${name}"), known);
        }
        // Anything else that a shell would have to work out is not guessed.
        if value.contains(['$', '`']) {
            return None;
        }
        variables[which].1 = value;
    }
    let [(_, normally), (_, always)] = variables;
    Some(format!("{} {}", always.trim(), normally.trim()).trim().to_owned())
}

/// The word that a shell makes of a quoted or bare value.
fn unquoted(value: &str) -> Option<String> {
    let value = value.trim();
    let quoted = ['"', '\''].into_iter().find_map(|quote| Some((quote, value.strip_prefix(quote)?)));
    match quoted {
        Some((quote, rest)) => rest.split_once(quote).map(|(inner, _)| inner.to_owned()),
        None => Some(value.split_whitespace().next().unwrap_or_default().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_a_shell_would_take() {
        assert_eq!(unquoted("\"a b\" # c").unwrap(), "a b");
        assert_eq!(unquoted("'a'").unwrap(), "a");
        assert_eq!(unquoted("a # b").unwrap(), "a");
        assert_eq!(unquoted("\"\"").unwrap(), "");
        assert_eq!(unquoted("\"goes on"), None);
    }
}
