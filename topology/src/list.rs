//! A set of CPUs, in both forms that the kernel reads and writes: lists such as `0-3,8` and masks such as
//! `ff,0000000f`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// The highest number of a CPU that is believed: more than the largest kernels take.
const HIGHEST: usize = 65_535;

/// A set of CPUs. Written and read as a list: `0-3,8`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct CpuList(BTreeSet<usize>);

/// What is no list of CPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseCpuListError(String);

impl fmt::Display for ParseCpuListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is no list of CPUs such as 0-3,8", self.0)
    }
}

impl std::error::Error for ParseCpuListError {}

impl CpuList {
    /// Whether a CPU is among them.
    pub fn contains(&self, cpu: usize) -> bool {
        self.0.contains(&cpu)
    }

    /// By their number.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().copied()
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all of them are among `others`.
    pub fn is_subset(&self, others: &Self) -> bool {
        self.0.is_subset(&others.0)
    }

    /// Those that are not among `others`.
    pub fn without(&self, others: &Self) -> Self {
        self.0.difference(&others.0).copied().collect()
    }

    /// Those that are in both.
    pub fn and(&self, others: &Self) -> Self {
        self.0.intersection(&others.0).copied().collect()
    }

    /// Reads a mask such as `ff,0000000f`: groups of 32 CPUs, the highest first.
    pub fn parse_mask(text: &str) -> Result<Self, ParseCpuListError> {
        let fail = || ParseCpuListError(text.trim().into());
        let mut cpus = BTreeSet::new();
        for (group, word) in text.trim().trim_start_matches("0x").rsplit(',').enumerate() {
            // Without commas, a mask may have any number of digits.
            for (nibble, digit) in word.chars().rev().enumerate() {
                let digit = digit.to_digit(16).ok_or_else(fail)?;
                let first = group * 32 + nibble * 4;
                cpus.extend((0..4).filter(|bit| digit >> bit & 1 == 1).map(|bit| first + bit));
            }
            if word.is_empty() {
                return Err(fail());
            }
        }
        Ok(Self(cpus))
    }

    /// Written as a mask, as the kernel does: groups of 32 CPUs in hexadecimal, the highest first.
    pub fn to_mask(&self) -> String {
        let groups = self.0.last().map_or(1, |highest| highest / 32 + 1);
        let word = |group: usize| {
            let bits = (0..32).filter(|bit| self.contains(group * 32 + bit));
            bits.fold(0u32, |word, bit| word | 1 << bit)
        };
        let words: Vec<_> = (0..groups)
            .rev()
            .map(|group| match group + 1 == groups {
                true => format!("{:x}", word(group)),
                false => format!("{:08x}", word(group)),
            })
            .collect();
        words.join(",")
    }
}

impl FromIterator<usize> for CpuList {
    fn from_iter<T: IntoIterator<Item = usize>>(cpus: T) -> Self {
        Self(cpus.into_iter().collect())
    }
}

impl FromStr for CpuList {
    type Err = ParseCpuListError;

    /// Reads `0-3,8`, and strides such as `0-6:1/2`, as the kernel does. Empty text is an empty list.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim().trim_end_matches('\0');
        let fail = || ParseCpuListError(text.into());
        let number = |text: &str| text.parse().ok().filter(|cpu| *cpu <= HIGHEST).ok_or_else(fail);
        let mut cpus = BTreeSet::new();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let (range, stride) =
                part.split_once(':').map_or((part, None), |(range, rest)| (range, Some(rest)));
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (usize, usize) = (number(first)?, number(last)?);
            let (used, group) = match stride {
                None => (1, 1),
                Some(stride) => {
                    let (used, group) = stride.split_once('/').ok_or_else(fail)?;
                    (number(used)?, number(group)?)
                }
            };
            if last < first || used > group || group == 0 {
                return Err(fail());
            }
            cpus.extend((first..=last).filter(|cpu| (cpu - first) % group < used));
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.iter().peekable();
        let mut comma = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while cpus.peek() == Some(&(last + 1)) {
                last += 1;
                cpus.next();
            }
            match last == first {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

impl serde::Serialize for CpuList {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'a> serde::Deserialize<'a> for CpuList {
    fn deserialize<D: serde::Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(text: &str) -> Vec<usize> {
        text.parse::<CpuList>().unwrap().iter().collect()
    }

    #[test]
    fn lists_as_the_kernel_writes_them() {
        assert_eq!(list("1-3,8\n"), [1, 2, 3, 8]);
        assert_eq!(list("\n"), [0usize; 0]);
        assert_eq!(list("5"), [5]);
        assert_eq!(list("0-7:1/2"), [0, 2, 4, 6]);
        for wrong in ["3-1", "a", "1-", "1,,2", "0-3:2/1", "0-3:1/0", "0-99999999999"] {
            assert!(wrong.parse::<CpuList>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn masks_as_the_kernel_writes_them() {
        assert_eq!(CpuList::parse_mask("f\n").unwrap(), "0-3".parse().unwrap());
        assert_eq!(CpuList::parse_mask("1,00000000,80000001").unwrap(), "0,31,64".parse().unwrap());
        assert_eq!(CpuList::parse_mask("0x3").unwrap(), "0-1".parse().unwrap());
        assert_eq!("0,31,64".parse::<CpuList>().unwrap().to_mask(), "1,00000000,80000001");
        assert_eq!(CpuList::default().to_mask(), "0");
        assert!(CpuList::parse_mask("").is_err() && CpuList::parse_mask("g").is_err());
    }

    proptest! {
        #[test]
        fn both_forms_are_read_as_they_were_written(cpus in prop::collection::btree_set(0..300usize, 0..60)) {
            let cpus = CpuList(cpus);
            prop_assert_eq!(&cpus.to_string().parse::<CpuList>().unwrap(), &cpus);
            prop_assert_eq!(&CpuList::parse_mask(&cpus.to_mask()).unwrap(), &cpus);
        }
    }
}
