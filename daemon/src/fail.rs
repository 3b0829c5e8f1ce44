//! Named points at which a test makes a debug build fail, to see what becomes of it. Release builds have none of it.
//!
//! `CHARTD_FAIL=NAME=ACTION[@N]` acts when the point is reached for the Nth time (at once without it); ACTION is
//! `kill` (SIGKILL to this process), `spin` (for ever) or `block` (for ever).
//! Where the kernel is asked for something, `refuse` has it refuse, each time. With `CHARTD_FAIL_ONCE=FILE` it acts
//! only if that file is there, and removes it, so that a daemon that is started again is well.

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

        fn act(&self) {
            // A point that fails once may be passed often before its file is there, so it counts from then on.
            if self.once.as_ref().is_some_and(|file| !file.exists()) {
                return;
            }
            if self.hits.fetch_add(1, Relaxed) + 1 < self.at {
                return;
            }
            if self.once.as_ref().is_some_and(|file| std::fs::remove_file(file).is_err()) {
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

    /// Whether a test says that the kernel refuses this. Several may be named, with commas between.
    pub(crate) fn is_refused(name: &str) -> bool {
        let plan = PLAN.get().and_then(Option::as_ref);
        plan.is_some_and(|plan| plan.action == "refuse" && plan.point.split(',').any(|point| point == name))
    }
}

#[cfg(debug_assertions)]
pub(crate) use armed::{init, is_refused, point};

#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn init() {}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn point(_name: &str) {}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn is_refused(_name: &str) -> bool {
    false
}
