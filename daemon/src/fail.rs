//! Named points at which a test makes a debug build fail, to see what becomes of it. Release builds have none of it.
//!
//! `CHARTD_FAIL=NAME=ACTION[@N]` acts when the point is reached for the Nth time (at once without it); ACTION is
//! `kill` (SIGKILL to this process), `spin` (for ever) or `block` (for ever).
//! Where the kernel is asked for something, `refuse` has it refuse, each time. With `CHARTD_FAIL_ONCE=FILE` it acts
//! only if that file is there, and removes it, so that a daemon that is started again is well. Where an operation ends,
//! `eio` and `enospc` have it end with that error: from the Nth time on, or only then with `CHARTD_FAIL_ONCE`.

#[cfg(debug_assertions)]
mod armed {
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering::*};

    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();

    struct Plan {
        point: String,
        action: String,
        hits: AtomicU64,
        at: u64,
        once: Option<PathBuf>,
    }

    impl Plan {
        fn read() -> Option<Self> {
            let text = std::env::var("CHARTD_FAIL").ok()?;
            let (point, action) = text.split_once('=')?;
            let (action, at) = action.split_once('@').unwrap_or((action, "0"));
            let once = std::env::var_os("CHARTD_FAIL_ONCE").map(PathBuf::from);
            let at = at.parse().ok()?;
            Some(Self { point: point.into(), action: action.into(), hits: AtomicU64::new(0), at, once })
        }

        /// Whether this is the time.
        fn is_due(&self) -> bool {
            // A point that fails once may be passed often before its file is there, so it counts from then on.
            if self.once.as_ref().is_some_and(|file| !file.exists()) {
                return false;
            }
            if self.hits.fetch_add(1, Relaxed) + 1 < self.at {
                return false;
            }
            self.once.as_ref().is_none_or(|file| std::fs::remove_file(file).is_ok())
        }

        fn act(&self) {
            if !self.is_due() {
                return;
            }
            match self.action.as_str() {
                "kill" => {
                    let _ = nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::SIGKILL);
                }
                "spin" => loop {
                    std::hint::spin_loop();
                },
                _ => loop {
                    std::thread::park();
                },
            }
        }
    }

    /// Reads the environment, so that no hot thread must.
    pub(crate) fn init() {
        PLAN.get_or_init(Plan::read);
    }

    /// Fails here, if a test says so.
    pub(crate) fn point(name: &str) {
        if let Some(Some(plan)) = PLAN.get()
            && plan.point == name
        {
            plan.act();
        }
    }

    /// The error that an operation ends with here, if a test says so.
    pub(crate) fn errno(name: &str) -> Option<i32> {
        let plan = PLAN.get()?.as_ref().filter(|plan| plan.point == name)?;
        let errno = match plan.action.as_str() {
            "eio" => libc::EIO,
            "enospc" => libc::ENOSPC,
            _ => return None,
        };
        plan.is_due().then_some(errno)
    }

    /// Whether a test says that the kernel refuses this. Several may be named, with commas between.
    pub(crate) fn is_refused(name: &str) -> bool {
        let plan = PLAN.get().and_then(Option::as_ref);
        plan.is_some_and(|plan| plan.action == "refuse" && plan.point.split(',').any(|point| point == name))
    }
}

#[cfg(debug_assertions)]
pub(crate) use armed::{errno, init, is_refused, point};

#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn init() {}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn point(_name: &str) {}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn errno(_name: &str) -> Option<i32> {
    None
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn is_refused(_name: &str) -> bool {
    false
}
