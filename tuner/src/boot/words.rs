//! How parameters become words: for the shell that reads `grub.d`, for GRUB, and for the kernel.
//!
//! What holds: a parameter reaches the kernel as it was meant, or it is refused. `grub-mkconfig` puts the variable's
//! text into GRUB's own language as it stands, so a word is quoted for GRUB first and for the shell around that.

use super::BootError;
use crate::plan::Parameter;

/// What the kernel takes at most, the ending zero included (COMMAND_LINE_SIZE of x86 and arm64).
const COMMAND_LINE_BYTES: usize = 2048;

/// A parameter as it stands on a `linux` line of GRUB's language.
pub(super) fn for_grub(parameter: &Parameter) -> Result<String, BootError> {
    let refuse = || BootError::Unquotable(parameter.word());
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    let key = &parameter.key;
    if key.is_empty() || key.starts_with('-') || !key.chars().all(is_name) {
        return Err(refuse());
    }
    // GRUB puts a backslash before these, and the kernel takes it for a part of the value.
    let is_printable = |letter: char| letter == ' ' || letter.is_ascii_graphic();
    if !parameter.value.chars().all(|letter| is_printable(letter) && !"\"'\\".contains(letter)) {
        return Err(refuse());
    }
    if NEEDS_VALUE.contains(&key.as_str()) && parameter.value.is_empty() {
        return Err(BootError::Empty(key.clone()));
    }
    let is_plain = |letter: char| is_name(letter) || "=,:/+@%^~".contains(letter);
    let word = parameter.word();
    Ok(if word.chars().all(is_plain) { word } else { format!("'{word}'") })
}

/// Parameters that mean something else, or nothing, without a value: an `isolcpus=` isolates nothing and says nothing.
const NEEDS_VALUE: [&str; 6] =
    ["isolcpus", "nohz_full", "rcu_nocbs", "irqaffinity", "hugepages", "hugepagesz"];

/// All of them, with blanks between.
pub(super) fn line_for_grub(parameters: &[Parameter]) -> Result<String, BootError> {
    let words: Result<Vec<_>, _> = parameters.iter().map(for_grub).collect();
    Ok(words?.join(" "))
}

/// Text within double quotes of the shell.
pub(super) fn in_shell_quotes(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for letter in text.chars() {
        if "\\\"$`".contains(letter) {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted
}

/// Refuses a command line that the kernel would cut off. `linux` is the line's words, the kernel's file second.
pub(super) fn check_length(linux: &[String], added: &[Parameter]) -> Result<(), BootError> {
    let own: usize = linux.iter().skip(1).map(|word| word.len() + 1).sum();
    // A word with blanks gets quotes.
    let ours: usize = added.iter().map(|parameter| parameter.word().len() + 3).sum();
    let needed = "BOOT_IMAGE=".len() + own + ours;
    match needed < COMMAND_LINE_BYTES {
        true => Ok(()),
        false => Err(BootError::TooLong { needed, most: COMMAND_LINE_BYTES - 1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(key: &str, value: &str) -> Parameter {
        Parameter { knob: "boot.x".into(), key: key.into(), value: value.into(), from: None }
    }

    #[test]
    fn what_cannot_reach_the_kernel_is_refused() {
        assert_eq!(for_grub(&parameter("isolcpus", "managed_irq,2-3")).unwrap(), "isolcpus=managed_irq,2-3");
        assert_eq!(for_grub(&parameter("dyndbg", "file a +p; $x")).unwrap(), "'dyndbg=file a +p; $x'");
        for (key, value) in
            [("a", "b\nc"), ("a", "b\"c"), ("a", "b'c"), ("a", "b\\n"), ("a b", "c"), ("--", ""), ("", "")]
        {
            assert!(
                matches!(for_grub(&parameter(key, value)), Err(BootError::Unquotable(_))),
                "{key}={value}"
            );
        }
    }

    #[test]
    fn a_parameter_that_needs_a_value_is_not_written_without() {
        assert!(matches!(for_grub(&parameter("isolcpus", "")), Err(BootError::Empty(_))));
        assert_eq!(for_grub(&parameter("nosoftlockup", "")).unwrap(), "nosoftlockup");
    }

    #[test]
    fn the_kernels_limit_is_kept() {
        let linux = ["linux".to_owned(), "/boot/vmlinuz".to_owned()];
        let of = |bytes: usize| [parameter("a", &"b".repeat(bytes))];
        assert!(check_length(&linux, &of(2000)).is_ok());
        assert!(matches!(check_length(&linux, &of(2030)), Err(BootError::TooLong { .. })));
    }
}
