//! The hot threads of one configuration, and how they end so that others can go on.

use crate::config::Config;
use crate::ingest::hot::{Drawing, Handover, HotLoop};
use crate::render::{self, Renderer};
use crate::rt::{self, Cpus, Placement, Plan};
use crate::supervisor::{INGEST, Pulse, RENDER};
use crate::uring::{Bell, Ring, RingPlan};
use anyhow::{Context, bail};
use shm::status::StatusWriter;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread may take to stop before it counts as stuck.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The hot threads. Whoever drops them has told the ingest thread to stop; see [`crate::ingest::Remote::stop`].
pub(crate) struct Threads {
    /// For the thread that draws, if there is one.
    stop: Arc<AtomicBool>,
    handles: Vec<JoinHandle<()>>,
    left: mpsc::Receiver<Handover>,
}

/// What the threads need besides their work.
pub(crate) struct Setting<'a> {
    pub(crate) config: &'a Config,
    pub(crate) status: &'a Arc<StatusWriter>,
    /// Set when drawing is to go on with a simpler backend.
    pub(crate) step_down: &'a Arc<AtomicBool>,
}

impl Threads {
    /// Starts them and waits until each is placed. Returns what they were refused.
    pub(crate) fn start(
        setting: &Setting<'_>,
        renderer: Renderer,
        handover: Handover,
    ) -> anyhow::Result<(Self, Vec<String>)> {
        let Plan { ingest, render, .. } = rt::place(&setting.config.realtime, &Cpus::read());
        let mut refused = Vec::new();
        if ingest.cpu.is_none() {
            refused.push(
                "no CPU is isolated: the hot threads share theirs (isolate two with isolcpus=)".to_owned(),
            );
        }
        let (leave, left) = mpsc::sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Self { stop: stop.clone(), handles: Vec::new(), left };
        let drawing = match &render {
            None => Drawing::Here(Box::new(renderer)),
            Some(render) => {
                let bell = Arc::new(Bell::default());
                let drawing = Drawing::Elsewhere(bell.clone());
                let wait = render.wait;
                refused.extend(threads.spawn(
                    setting,
                    RENDER,
                    render,
                    RingPlan::render(),
                    move |ring, pulse| render::run(renderer, ring, &bell, wait, &pulse, &stop),
                )?);
                drawing
            }
        };
        let (status, wait) = (setting.status.clone(), ingest.wait);
        let plan = RingPlan::ingest(setting.config.realtime.huge_pages);
        refused.extend(threads.spawn(setting, INGEST, &ingest, plan, move |ring, pulse| {
            let handover = HotLoop::new(ring, handover, status, drawing, wait, pulse).run()?;
            let _ = leave.send(handover); // Nobody wants it when the daemon ends.
            Ok(())
        })?);
        Ok((threads, refused))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.handles.len() as u64
    }

    /// Starts a thread with a ring of its own, and waits until it is placed.
    fn spawn(
        &mut self,
        setting: &Setting<'_>,
        place: usize,
        placement: &Placement,
        plan: RingPlan,
        run: impl FnOnce(Ring, Pulse) -> std::io::Result<()> + Send + 'static,
    ) -> anyhow::Result<Vec<String>> {
        let (ready, placed) = mpsc::sync_channel(1);
        let placement = placement.clone();
        let (status, step_down) = (setting.status.clone(), setting.step_down.clone());
        let name = placement.name;
        let builder = std::thread::Builder::new().name(name.to_owned()).stack_size(rt::STACK_BYTES);
        let thread = builder.spawn(move || {
            // Made before the priority is raised: helpers of the kernel would inherit it.
            let ring = match Ring::new(&plan) {
                Ok(ring) => ring,
                Err(error) => return drop(ready.send(Err(error))),
            };
            tracing::info!("{name}: {}", ring.features());
            let mut applied = placement.apply();
            applied.refused.extend(ring.features().lacking());
            let pulse = Pulse::of_this_thread(status, place, &placement, applied.priority, step_down);
            let _ = ready.send(Ok(applied.refused)); // The starter waits for it.
            if let Err(error) = run(ring, pulse) {
                tracing::error!("{name} failed: {error}");
            }
        })?;
        self.handles.push(thread);
        Ok(placed.recv().with_context(|| format!("{name} ended at once"))??)
    }

    /// Waits for the ingest thread, which was told to stop, and gets what it leaves; then ends the other. Meanwhile
    /// `drain` is called, so that it never waits for room in a queue.
    pub(crate) fn halt(&mut self, mut drain: impl FnMut()) -> anyhow::Result<Handover> {
        let end = Instant::now() + STOP_TIMEOUT;
        let handover = loop {
            drain();
            match self.left.recv_timeout(Duration::from_millis(10)) {
                Ok(handover) => break handover,
                Err(mpsc::RecvTimeoutError::Timeout) if Instant::now() < end => {}
                Err(_) => bail!("the ingest thread does not stop"),
            }
        };
        self.join();
        Ok(handover)
    }

    /// Done when a thread has ended that should not have.
    pub(crate) async fn watch(&self) {
        while !self.handles.iter().any(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.join();
    }
}

impl Threads {
    fn join(&mut self) {
        self.stop.store(true, Release);
        let end = Instant::now() + STOP_TIMEOUT;
        for handle in self.handles.drain(..) {
            while !handle.is_finished() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
            if handle.is_finished() {
                let _ = handle.join(); // A panic was printed by the thread itself.
            } else {
                // It is stuck. The process ends without it, or systemd ends the process.
                tracing::error!("a hot thread does not end");
            }
        }
    }
}
