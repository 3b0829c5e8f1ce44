//! A real host to tune: a virtual machine with Debian 12, its stock and its PREEMPT_RT kernel, GRUB and systemd. QEMU
//! emulates the CPUs too, so it runs where there is no virtualisation, and nothing of what it takes is a measurement.
//!
//! Every machine starts from the same image. What one writes is its own, and gone with it.
//!
//! ```no_run
//! use tests::vm::Machine;
//! let Some(mut machine) = Machine::start("story") else { return };
//! machine.put(&tests::bin("tuner"), "/usr/local/bin/tuner");
//! let before = machine.capture();
//! machine.must("tuner apply plan.json");
//! machine.reboot(); // or machine.cut_power(7), or machine.begin("...") and machine.wait_for_boot()
//! assert_eq!(machine.text("/sys/devices/system/cpu/isolated"), "2-3");
//! machine.must("tuner rollback");
//! machine.reboot();
//! before.assert_same_as(&machine.capture());
//! ```
//!
//! `cargo xtask test --vm` sets `CHARTD_VM`, without which no machine starts. A test that fails shows the end of its
//! machine's console, and names the file: `target/vm/console-NAME.log`.

mod capture;
mod disk;
mod image;
mod machine;

pub use capture::{Capture, Difference, walk};
pub use machine::{Machine, Output};
