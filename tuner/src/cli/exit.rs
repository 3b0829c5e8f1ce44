//! With which status the program ends. Scripts rely on it: a number never changes its meaning.

use tuner::audit::{Finding, Status};
use tuner::facts::Facts;

/// All is as it is wished, or was made so.
pub(crate) const FINE: u8 = 0;
/// Something is not as it is wished.
pub(crate) const DRIFT: u8 = 1;
/// The command line, a profile or a file is wrong.
pub(crate) const USAGE: u8 = 2;
/// An interlock refuses.
pub(crate) const REFUSED: u8 = 3;
/// A part failed, and was undone.
pub(crate) const ROLLED_BACK: u8 = 4;
/// Not all could be undone.
pub(crate) const INCOMPLETE: u8 = 5;
/// It takes a reboot for all to be as it is wished.
pub(crate) const REBOOT: u8 = 6;
/// Somebody else is at it.
pub(crate) const LOCKED: u8 = 7;
/// It takes more privilege.
pub(crate) const PRIVILEGE: u8 = 8;

/// What the help says of them.
pub(crate) const HELP: &str = "\
Exit status:
  0  all is as wished, or was made so
  1  something is not as wished, or cannot be told by root either
  2  the command line, a profile or a file is wrong
  3  an interlock refuses; `--force ID` overrides it
  4  a part failed; what was changed was undone
  5  not all could be undone; what is left to do by hand is printed
  6  all is as wished after a reboot
  7  another tuner is at work, or an earlier apply waits
  8  it takes more privilege";

/// The status for how settings stand. What cannot be known is never fine; what this host does not have, is.
pub(crate) fn of(findings: &[Finding], facts: &Facts) -> u8 {
    let is_any = |wanted: &[Status]| findings.iter().any(|finding| wanted.contains(&finding.status));
    if is_any(&[Status::Drift, Status::Conflict]) {
        DRIFT
    } else if is_any(&[Status::Unknown]) {
        if facts.is_root { DRIFT } else { PRIVILEGE }
    } else if is_any(&[Status::PendingReboot]) {
        REBOOT
    } else {
        FINE
    }
}
