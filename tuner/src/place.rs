//! Where a setting stands, and how it is read, compared and written.
//!
//! What holds: the state of every place is text, or that it is absent. What [`get`] returns, [`set`] puts back as it
//! was. Two states that mean the same to the kernel compare equal: `[none] mq-deadline` and `none`, `0-3` and
//! `0,1,2,3`.

use crate::boot::environment;
use crate::host::{GpuItem, Host, HostError, HostErrorKind, NicItem, absent_is_none};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use topology::CpuList;

mod unit;

/// Where a setting stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Place {
    /// A file of procfs or sysfs, written in place.
    Attribute {
        /// Which.
        path: PathBuf,
        /// How its text is meant.
        form: Form,
    },
    /// A configuration file, put there whole. Its state is its text.
    File {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A parameter of the kernel's command line. Its state is what stands behind its `=`, empty for one without; of
    /// one that stands there more than once, the values with blanks between. It is changed by files, not by [`set`].
    Parameter {
        /// Its name, such as `nohz_full`.
        key: String,
        /// How its value is meant.
        form: Form,
    },
    /// A unit of systemd. Its state is its file's and its own: `enabled active`, `disabled inactive`, `masked inactive`.
    Unit {
        /// Its name, with its ending.
        name: String,
    },
    /// An area of swap. Its state is its priority; absent if it is not in use.
    Swap {
        /// The device or file.
        area: PathBuf,
    },
    /// A network card's setting.
    Nic {
        /// The name of its interface.
        interface: String,
        /// Which setting.
        item: NicItem,
    },
    /// A graphics card's setting.
    Gpu {
        /// Its PCI address.
        pci: String,
        /// Which setting.
        item: GpuItem,
    },
    /// The entry that GRUB boots the next time, and only then. Its state is the entry's id; absent if none is armed.
    NextBoot,
}

/// How text is meant, and so when two mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// As it stands there, but for blanks around it.
    Text,
    /// A whole number.
    Number,
    /// `Y`, `1` or `on` for yes; `N`, `0` or `off` for no.
    Flag,
    /// One of several words, the chosen one in brackets: `a [b] c`, `a (b) c`.
    Choice,
    /// CPUs as a list: `0-3,8`. Words before them, as `isolcpus=` has, do not count.
    Cpus,
    /// CPUs as a list, of which some are enough: an interrupt is where it should be on any of those wished.
    SomeCpus,
    /// Words and CPUs behind them, as of `isolcpus=`: `managed_irq,domain,2-3`. The order of words does not count.
    WordsAndCpus,
    /// CPUs as a mask: `ff`. Its state and what is wished for it are lists all the same; only the kernel sees masks.
    CpuMask,
    /// Words or numbers with blanks between, of which the first counts: `4 4 1 7` of kernel.printk.
    First,
    /// How a unit is enabled, and whether it is active: `enabled active`. Not all of it may be known.
    Unit,
}

/// Names by which the kernel knows the same thing; it reads back the second.
const ALIASES: [(&str, &str); 2] = [("deadline", "mq-deadline"), ("noop", "none")];

impl Form {
    /// The state that text of the kernel stands for: of a choice, the chosen word.
    pub fn normal(self, text: &str) -> String {
        let text = text.trim();
        match self {
            Self::Choice => {
                let chosen = text.split_once(['[', '(']).and_then(|(_, rest)| rest.split_once([']', ')']));
                let word = chosen.map_or(text, |(word, _)| word);
                ALIASES.iter().find(|(alias, _)| *alias == word).map_or(word, |(_, name)| name).into()
            }
            Self::Flag => match text.to_ascii_lowercase().as_str() {
                "y" | "1" | "on" | "yes" => "1".into(),
                "n" | "0" | "off" | "no" => "0".into(),
                _ => text.into(),
            },
            Self::Cpus | Self::SomeCpus => {
                cpus_behind_words(text).map_or_else(|| text.into(), |(_, cpus)| cpus.to_string())
            }
            Self::WordsAndCpus => cpus_behind_words(text).map_or_else(
                || text.into(),
                |(mut words, cpus)| {
                    words.sort_unstable();
                    words.iter().map(|word| format!("{word},")).chain([cpus.to_string()]).collect()
                },
            ),
            Self::CpuMask => text.parse::<CpuList>().map_or_else(|_| text.into(), |cpus| cpus.to_string()),
            Self::First => text.split_whitespace().next().unwrap_or_default().into(),
            Self::Text | Self::Number | Self::Unit => text.into(),
        }
    }

    /// Whether two texts mean the same.
    pub fn is_same(self, one: &str, other: &str) -> bool {
        // States of masks are lists. `0,2` could be either, so it is read as what states are.
        if let (Self::CpuMask, Ok(one), Ok(other)) =
            (self, one.trim().parse::<CpuList>(), other.trim().parse::<CpuList>())
        {
            return one == other;
        }
        if self == Self::Unit {
            return unit::is_same(one, other);
        }
        let (one, other) = (self.normal(one), self.normal(other));
        match (self, one.parse::<i128>(), other.parse::<i128>()) {
            (Self::Number | Self::First, Ok(one), Ok(other)) => one == other,
            _ => one == other,
        }
    }

    /// Whether a state is what is wished, or as much of it as is enough.
    pub fn is_among(self, state: &str, wished: &str) -> bool {
        match (self, state.trim().parse::<CpuList>(), wished.trim().parse::<CpuList>()) {
            (Self::SomeCpus, Ok(cpus), Ok(wished)) => cpus.is_subset(&wished),
            _ => self.is_same(state, wished),
        }
    }

    /// What is written for a state: CPU masks in the kernel's form, of a choice the word that the kernel knows now,
    /// everything else as it is.
    fn written(self, state: &str) -> String {
        match (self, state.parse::<CpuList>()) {
            (Self::CpuMask, Ok(cpus)) => cpus.to_mask(),
            (Self::Choice, _) => self.normal(state),
            _ => state.into(),
        }
    }
}

/// Words, and the CPUs behind them.
fn cpus_behind_words(text: &str) -> Option<(Vec<&str>, CpuList)> {
    let is_word = |part: &&str| part.starts_with(|letter: char| letter.is_ascii_alphabetic());
    let words: Vec<_> = text.split(',').take_while(is_word).collect();
    let length: usize = words.iter().map(|word| word.len() + 1).sum();
    Some((words, text.get(length..)?.parse().ok()?))
}

impl Place {
    /// A file of procfs or sysfs.
    pub fn attribute(path: impl Into<PathBuf>, form: Form) -> Self {
        Self::Attribute { path: path.into(), form }
    }

    /// A sysctl by its name, such as `vm.swappiness`.
    pub fn sysctl(name: &str, form: Form) -> Self {
        Self::attribute(format!("/proc/sys/{}", name.replace('.', "/")), form)
    }

    /// A parameter of the kernel's command line.
    pub fn parameter(key: &str, form: Form) -> Self {
        Self::Parameter { key: key.into(), form }
    }

    /// How its state is meant.
    pub fn form(&self) -> Form {
        match self {
            Self::Attribute { form, .. } | Self::Parameter { form, .. } => *form,
            Self::Nic { .. } | Self::Gpu { .. } | Self::File { .. } | Self::NextBoot => Form::Text,
            Self::Unit { .. } => Form::Unit,
            Self::Swap { .. } => Form::Number,
        }
    }

    /// What it means that it is absent, where that is no state to bring about but the lack of the thing. A sentence.
    pub fn absence(&self) -> Option<&'static str> {
        match self {
            Self::Attribute { .. } => Some("this kernel has no such file"),
            Self::Unit { .. } => Some("there is no such unit"),
            Self::Nic { .. } => Some("its driver has no such setting"),
            Self::Gpu { .. } => Some("it cannot be asked of this card, or its driver is not there to tell"),
            Self::File { .. } | Self::Parameter { .. } | Self::Swap { .. } | Self::NextBoot => None,
        }
    }

    /// Whether two states of it mean the same; absent means only itself.
    pub fn is_same(&self, one: Option<&str>, other: Option<&str>) -> bool {
        match (self, one, other) {
            (_, None, None) => true,
            // Of a file, every byte counts.
            (Self::File { .. }, one, other) => one == other,
            (_, Some(one), Some(other)) => self.form().is_same(one, other),
            _ => false,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute { path, .. } | Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::Parameter { key, .. } => write!(f, "kernel parameter {key}"),
            Self::Unit { name } => write!(f, "{name}"),
            Self::Swap { area } => write!(f, "swap on {}", area.display()),
            Self::Nic { interface, item } => write!(f, "{interface} {item}"),
            Self::Gpu { pci, item } => write!(f, "GPU {pci} {item}"),
            Self::NextBoot => f.write_str("the entry that GRUB boots next"),
        }
    }
}

/// The state of a place; none if it is absent.
pub fn get(host: &dyn Host, place: &Place) -> Result<Option<String>, HostError> {
    match place {
        Place::Attribute { path, form } => {
            Ok(absent_is_none(host.read(path))?.map(|text| state_of(*form, &text)))
        }
        Place::File { path, .. } => absent_is_none(host.read(path)),
        Place::Parameter { key, .. } => Ok(parameter(&host.read(Path::new("/proc/cmdline"))?, key)),
        Place::Unit { name } => unit::state(host, name),
        Place::Swap { area } => {
            let swaps = absent_is_none(host.read(Path::new("/proc/swaps")))?.unwrap_or_default();
            let line = swaps.lines().skip(1).find(|line| line.split_whitespace().next() == area.to_str());
            Ok(line.and_then(|line| line.split_whitespace().last()).map(str::to_owned))
        }
        Place::Nic { interface, item } => host.nic(interface, *item),
        Place::Gpu { pci, item } => host.gpu(pci, *item),
        // GRUB leaves an empty variable behind when it has booted what was armed.
        Place::NextBoot => {
            let armed = environment::variable(host, "next_entry")?;
            Ok(armed.filter(|entry| !entry.is_empty()))
        }
    }
}

/// The same from whoever knows for certain, which may take a program: for those who change it, not for an audit.
pub fn get_exactly(host: &dyn Host, place: &Place) -> Result<Option<String>, HostError> {
    match place {
        Place::Unit { name } => unit::exactly(host, name),
        place => get(host, place),
    }
}

/// What is kept of an attribute's text: enough to put it back.
fn state_of(form: Form, text: &str) -> String {
    match form {
        Form::CpuMask => {
            CpuList::parse_mask(text).map_or_else(|_| text.trim().into(), |cpus| cpus.to_string())
        }
        // All of its words are put back, though only the first counts.
        Form::First => text.trim().into(),
        form => form.normal(text),
    }
}

/// Puts a place into a state. That it took is not certain before it is read again.
pub fn set(host: &dyn Host, place: &Place, state: Option<&str>) -> Result<(), HostError> {
    let fixed = |subject: &Path| HostError::new(subject, HostErrorKind::Invalid, "it cannot be made absent");
    match (place, state) {
        (Place::Attribute { path, form }, Some(state)) => host.write(path, &form.written(state)),
        (Place::Attribute { path, .. }, None) => Err(fixed(path)),
        (Place::File { path, mode }, Some(text)) => host.replace(path, text, *mode),
        (Place::File { path, .. }, None) => host.remove(path),
        (Place::Parameter { key, .. }, _) => {
            Err(HostError::new(Path::new(key), HostErrorKind::NotSupported, "it is set by the boot loader"))
        }
        (Place::Unit { name }, Some(state)) => unit::set(host, name, state),
        (Place::Unit { name }, None) => Err(fixed(Path::new(name))),
        (Place::Swap { area }, state) => host.set_swap(area, state.and_then(|state| state.parse().ok())),
        (Place::Nic { interface, item }, Some(state)) => host.set_nic(interface, *item, state),
        (Place::Nic { interface, .. }, None) => Err(fixed(Path::new(interface))),
        (Place::Gpu { pci, item }, state) => host.set_gpu(pci, *item, state.unwrap_or_default()),
        (Place::NextBoot, Some(entry)) => host.run("grub-reboot", &[entry]).map(drop),
        (Place::NextBoot, None) => host.run("grub-editenv", &["-", "unset", "next_entry"]).map(drop),
    }
}

/// A parameter's values on a command line, up to `--`. Dashes and underscores in names are alike to the kernel.
pub fn parameter(command_line: &str, key: &str) -> Option<String> {
    let alike = |name: &str| name.replace('-', "_") == key.replace('-', "_");
    let own = command_line.split_whitespace().take_while(|word| *word != "--");
    let values: Vec<_> = own
        .map(|word| word.split_once('=').unwrap_or((word, "")))
        .filter(|(name, _)| alike(name))
        .map(|(_, value)| value)
        .collect();
    (!values.is_empty()).then(|| values.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_is_the_same() {
        assert!(Form::Choice.is_same("[none] mq-deadline kyber", "none"));
        assert!(Form::Choice.is_same("none [mq-deadline]", "deadline"));
        assert!(!Form::Choice.is_same("none [mq-deadline]", "none"));
        assert!(Form::Cpus.is_same("0,1,2,3\n", "0-3"));
        assert!(Form::CpuMask.is_same("0,1", "0-1") && !Form::CpuMask.is_same("3", "0-1"));
        assert!(Form::Flag.is_same("Y\n", "1") && !Form::Flag.is_same("Y", "0"));
        assert!(Form::Number.is_same("010", "10") && Form::First.is_same("4\t4\t1\t7", "4"));
        assert!(Form::Text.is_same("n/a\n", "n/a"));
        assert!(Form::Choice.is_same("none voluntary (full) lazy", "full"));
    }

    #[test]
    fn words_before_cpus_count_where_they_should() {
        let words = Form::WordsAndCpus;
        assert!(words.is_same("managed_irq,domain,2,6", "domain,managed_irq,6,2"));
        assert!(!words.is_same("managed_irq,domain,2,6", "domain,2,6"));
        assert!(!words.is_same("managed_irq,2,6", "managed_irq,2"));
        assert!(Form::Cpus.is_same("managed_irq,domain,2,6", "6,2"));
        assert!(!Form::Cpus.is_same("managed_irq,domain", "2") && !Form::Cpus.is_same("(null)", "2"));
    }

    #[test]
    fn a_list_of_cpus_is_not_taken_for_a_mask() {
        // As masks, `0` would be nothing and `0,2` would be CPU 1, as `2` would.
        assert!(!Form::CpuMask.is_same("0", "") && !Form::CpuMask.is_same("0,2", "2"));
        assert_eq!(state_of(Form::CpuMask, "5\n"), "0,2");
        assert_eq!(Form::CpuMask.written("0,2,64"), "1,00000000,00000005");
    }

    #[test]
    fn a_name_that_the_kernel_gave_up_is_not_written() {
        assert_eq!(Form::Choice.written("noop"), "none");
        assert_eq!((Form::Choice.written("bfq"), Form::Text.written("noop")), ("bfq".into(), "noop".into()));
    }

    #[test]
    fn some_of_the_cpus_are_enough_where_one_is_used() {
        assert!(Form::SomeCpus.is_among("1", "0-3") && !Form::SomeCpus.is_among("1,4", "0-3"));
        assert!(!Form::Cpus.is_among("1", "0-3") && !Form::SomeCpus.is_same("1", "0-3"));
    }

    #[test]
    fn units_that_others_start_count_as_enabled_and_what_is_unknown_as_either() {
        let is_same = |one, other| Form::Unit.is_same(one, other) && Form::Unit.is_same(other, one);
        assert!(is_same("enabled active", "static active") && is_same("masked inactive", "masked unknown"));
        assert!(
            !is_same("enabled active", "static inactive") && !is_same("masked inactive", "enabled unknown")
        );
        assert!(
            !is_same("disabled inactive", "static inactive") && !is_same("masked inactive", "masked active")
        );
    }

    #[test]
    fn parameters_are_found_wherever_they_stand() {
        let line =
            "quiet isolcpus=managed_irq,2-3 console=tty0 console=ttyS0 rcu-nocbs=1 -- init=x quiet=2\n";
        assert_eq!(parameter(line, "isolcpus").unwrap(), "managed_irq,2-3");
        assert_eq!(parameter(line, "console").unwrap(), "tty0 ttyS0");
        assert_eq!(parameter(line, "rcu_nocbs").unwrap(), "1");
        assert_eq!(parameter(line, "quiet").unwrap(), "");
        assert_eq!(parameter(line, "init"), None);
    }
}
