//! Which knobs a command is about: `--only` and `--skip`.

use super::Failure;
use tuner::catalogue;

/// See above.
pub(crate) struct Selection<'a> {
    only: &'a [String],
    skip: &'a [String],
}

impl<'a> Selection<'a> {
    /// Takes what was asked for, if each names at least one knob.
    pub(crate) fn new(only: &'a [String], skip: &'a [String]) -> Result<Self, Failure> {
        match only.iter().chain(skip).find(|name| !catalogue::all().any(|knob| names(name, knob.id))) {
            Some(name) => Err(unknown(name)),
            None => Ok(Self { only, skip }),
        }
    }

    /// Whether the command is about a knob.
    pub(crate) fn takes(&self, id: &str) -> bool {
        let is_among = |names_: &[String]| names_.iter().any(|name| names(name, id));
        (self.only.is_empty() || is_among(self.only)) && !is_among(self.skip)
    }
}

/// That there is no such knob, with the one that may have been meant.
pub(crate) fn unknown(name: &str) -> Failure {
    let hint = match catalogue::nearest(name) {
        Some(near) => format!("is '{near}' meant?"),
        None => "`tuner audit --all` lists all".to_owned(),
    };
    Failure::usage(format!("there is no knob '{name}': {hint}"))
}

/// Whether a name stands for a knob: its own, or its area's, as `mem.` or `mem`.
fn names(name: &str, id: &str) -> bool {
    let rest = id.strip_prefix(name);
    !name.is_empty()
        && rest.is_some_and(|rest| rest.is_empty() || name.ends_with('.') || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_knob_is_named_by_itself_and_by_its_area() {
        for (name, id, expected) in [
            ("mem.thp", "mem.thp", true),
            ("mem", "mem.thp", true),
            ("mem.", "mem.thp", true),
            ("mem.thp", "mem.thp_defrag", false),
            ("me", "mem.thp", false),
            ("", "mem.thp", false),
        ] {
            assert_eq!(names(name, id), expected, "{name} {id}");
        }
    }

    #[test]
    fn what_is_skipped_is_so_though_it_is_asked_for() {
        let (only, skip) = (["mem".to_owned()], ["mem.thp".to_owned()]);
        let selection = Selection::new(&only, &skip).map_err(|failure| failure.to_string()).unwrap();
        assert!(
            selection.takes("mem.swappiness") && !selection.takes("mem.thp") && !selection.takes("net.x")
        );
        let wrong = ["mem.thq".to_owned()];
        let failure = Selection::new(&[], &wrong).err().unwrap();
        assert_eq!(failure.to_string(), "there is no knob 'mem.thq': is 'mem.thp' meant?");
        assert_eq!(failure.exit, 2);
    }
}
