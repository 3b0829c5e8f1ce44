//! Settings of disks and swap, really set and undone: on a loop device and on a small file of swap.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use tuner::host::{Host, HostErrorKind, Live};
use tuner::place::{self, Form, Place};

/// What a program printed; none if it is missing or ended badly.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A loop device, which goes with this.
struct Loop(String);

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = output("losetup", &["--detach", &self.0]);
    }
}

#[test]
fn a_queue_is_set_and_undone() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    File::create(&image).unwrap().set_len(8 << 20).unwrap();
    let Some(device) = output("losetup", &["--find", "--show", image.to_str().unwrap()]) else {
        println!("skipped: settings of a loop device (losetup cannot make one: it needs root)");
        return;
    };
    let device = Loop(device);
    let name = device.0.strip_prefix("/dev/").unwrap();
    let host = Live::new(Path::new("/")).unwrap();
    for (file, form, targets) in [
        ("scheduler", Form::Choice, ["none", "deadline"]),
        ("nomerges", Form::Number, ["2", "1"]),
        ("rq_affinity", Form::Number, ["2", "0"]),
        ("add_random", Form::Flag, ["1", "0"]),
        ("iostats", Form::Flag, ["0", "1"]),
        ("read_ahead_kb", Form::Number, ["64", "256"]),
    ] {
        let place = Place::attribute(format!("/sys/block/{name}/queue/{file}"), form);
        let before = place::get(&host, &place).unwrap().unwrap();
        for target in targets {
            place::set(&host, &place, Some(target)).unwrap_or_else(|error| panic!("{error}"));
            let after = place::get(&host, &place).unwrap();
            assert!(place.is_same(after.as_deref(), Some(target)), "{place}: {after:?}");
        }
        place::set(&host, &place, Some(&before)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(place::get(&host, &place).unwrap(), Some(before), "{place}");
    }
    let polled = Place::attribute(format!("/sys/block/{name}/queue/no_such_file"), Form::Flag);
    assert_eq!(place::get(&host, &polled), Ok(None));
}

/// Takes its area out of use, whatever happens.
struct Area(PathBuf);

impl Drop for Area {
    fn drop(&mut self) {
        let _ = output("swapoff", &[self.0.to_str().unwrap()]);
    }
}

#[test]
fn swap_goes_and_comes_with_its_priority() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = fs::canonicalize(dir.path()).unwrap().join("swap");
    // Written out: swap takes no file with holes.
    fs::write(&path, vec![0; 4 << 20]).unwrap();
    let text = path.to_str().unwrap();
    let made = output("chmod", &["600", text]).and_then(|_| output("mkswap", &[text]));
    let host = Live::new(Path::new("/")).unwrap();
    let place = Place::Swap { area: path.clone() };
    assert_eq!(place::get(&host, &place), Ok(None));
    let area = Area(path.clone());
    if made.is_none() || place::set(&host, &place, Some("7")).is_err() {
        println!("skipped: swap on a file (it needs root, mkswap, and a file system that takes it)");
        return;
    }
    assert_eq!(place::get(&host, &place).unwrap().as_deref(), Some("7"));
    assert_eq!(host.set_swap(&path, Some(7)).unwrap_err().kind, HostErrorKind::Busy);
    place::set(&host, &place, None).unwrap();
    assert_eq!(place::get(&host, &place), Ok(None));
    assert_eq!(host.set_swap(&path, None).unwrap_err().kind, HostErrorKind::Invalid);
    // The kernel's own priorities are negative.
    place::set(&host, &place, Some("-2")).unwrap();
    assert!(place::get(&host, &place).unwrap().unwrap().parse::<i32>().unwrap() < 0);
    place::set(&host, &place, None).unwrap();
    drop(area);
    let folder = Live::new(dir.path()).unwrap();
    assert_eq!(folder.set_swap(Path::new("/swap"), Some(1)).unwrap_err().kind, HostErrorKind::NotSupported);
}
