//! A running daemon: the hot threads, and the cold plane that serves everything else on one thread.
//!
//! A new configuration is taken over while it runs: the hot threads stop for a moment, others go on with their
//! connections and candles, in new segments. Readers of the old ones are told; what they have stays readable.

use crate::config::Config;
use crate::control::{ControlSocket, Exports};
use crate::engine::{Engine, EnginePlan, Input};
use crate::fail;
use crate::feeds::{self, Connector};
use crate::gateway;
use crate::ingest::channel;
use crate::ingest::hot::Handover;
use crate::journal::{Journal, Opened, Progress, Saying, Seen, Start, Voice, rebuild};
use crate::metadata;
use crate::now_ns;
use crate::render::{ChartPlan, Renderer};
use crate::rest::Hosts;
use crate::rt::{self, Cpus};
use crate::supervisor::{COLD, Pulse, Supervisor};
use crate::threads::{Setting, Threads};
use crate::wishes::Wisher;
use anyhow::{Context, bail, ensure};
use sd_notify::NotifyState;
use shm::prefix::Identity;
use shm::status::{DRAINING, Phase, RUNNING, StatusReader, StatusWriter};
use std::cell::RefCell;
use std::future::Future;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How often the cold plane tells that it is alive.
const COLD_BEAT: Duration = Duration::from_millis(250);

/// How long systemd is asked to wait for the next word of a start that reads the journal.
const PATIENCE_US: u32 = 30_000_000;

/// A daemon whose threads run and whose first frames are published.
pub struct Service {
    config: Config,
    identity: Identity,
    status: Arc<StatusWriter>,
    step_down: Arc<AtomicBool>,
    exports: watch::Sender<Rc<Exports>>,
    socket: Rc<ControlSocket>,
    http: Option<std::net::TcpListener>,
    connector: Connector,
    hosts: Hosts,
    threads: Threads,
    /// What is recorded is written by it. It ends after the threads that record.
    journal: Option<Journal>,
    voice: Voice,
    /// What the machine lacks whatever the configuration.
    lasting: Vec<String>,
    /// All that it lacks, but for what is said of the journal.
    degraded: Vec<String>,
    runtime: Option<Runtime>,
    _supervisor: Supervisor,
    _latency: Option<rt::CpuLatency>,
}

impl Service {
    /// Takes all memory, starts the hot threads and listens. Nothing is connected before [`Service::run`].
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        fail::init();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut config, hosts) = (config.clone(), Hosts::default());
        let guessed = runtime.block_on(metadata::learn(&mut config, None, &hosts));
        let config = &config;
        let sources = feeds::sources(config, &hosts)?;
        let path = config.socket.clone().unwrap_or_else(chart_client::own_socket);
        let socket = Rc::new(ControlSocket::open(&path)?);
        let http = config.http.map(listen).transpose()?;
        let identity = Identity { epoch: random_epoch()?, generation: 1 };
        let status = Arc::new(StatusWriter::create(std::process::id(), now_ns(), identity.epoch)?);
        let opened = config.journal.as_ref().map(Opened::open).transpose()?;
        let (mut engine, mut renderer, mut degraded) = planes(config, identity, &status)?;
        if let Some(opened) = &opened {
            go_on_from(opened, config, &mut engine);
            renderer.step();
        }
        renderer.announce()?;
        degraded.extend(guessed);
        let mut lasting = Vec::new();
        if config.realtime.lock_memory {
            lasting.extend(rt::lock_memory());
        }
        let latency = config.realtime.cpu_dma_latency_us.map(rt::CpuLatency::hold).transpose();
        let latency = latency.unwrap_or_else(|refused| {
            lasting.push(refused);
            None
        });
        let (remote, local) = channel()?;
        let wisher = renderer.take_wisher(remote.waker()).context("the charts are adjusted already")?;
        let exports = watch::Sender::new(Rc::new(exports(&status, &engine, &renderer, wisher, identity)?));
        let step_down = Arc::new(AtomicBool::new(false));
        let setting = Setting { config, status: &status, step_down: &step_down };
        let mut handover = Handover::new(engine.into(), local);
        let mut journal = None;
        if let Some(opened) = opened {
            let (written, recorder, refused) =
                opened.start(&status, &step_down, config.realtime.huge_pages)?;
            let start = Start::of(config, identity, &[]).encode();
            handover.engine.record(recorder, start, now_ns());
            lasting.extend(refused);
            journal = Some(written);
        }
        tell_days(config, &mut handover);
        handover.arbitrate(&feeds::mold_plans(&sources), &[]);
        let (threads, refused) = Threads::start(&setting, renderer, handover)?;
        degraded.extend(refused);
        let watching = rt::place(&config.realtime, &Cpus::read()).supervisor;
        let (supervisor, refused) = Supervisor::start(status.clone(), watching, step_down.clone())?;
        lasting.extend(refused);
        degraded.extend_from_slice(&lasting);
        let connector = Connector::new(remote, sources);
        if config.realtime.strict && !degraded.is_empty() {
            connector.stop();
            bail!("the configuration says strict = true, and this machine lacks: {}", degraded.join("; "));
        }
        status.set_degraded(&degraded);
        status.set_threads(threads.count(), identity.generation);
        status.set_state(RUNNING);
        Ok(Self {
            journal,
            voice: Voice::default(),
            degraded,
            config: config.clone(),
            identity,
            status,
            step_down,
            exports,
            socket,
            http,
            connector,
            hosts,
            threads,
            lasting,
            runtime: Some(runtime),
            _supervisor: supervisor,
            _latency: latency,
        })
    }

    /// Where the control socket is.
    pub fn socket(&self) -> &Path {
        self.socket.path()
    }

    /// Where the page is served, if it is.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref()?.local_addr().ok()
    }

    /// A view of the daemon's condition.
    pub fn status(&self) -> anyhow::Result<StatusReader> {
        Ok(StatusReader::open(self.status.reader_fd()?)?)
    }

    /// Serves until `shutdown` is done, then ends the hot threads. At SIGHUP it reads `file` again, if there is one.
    pub fn run(mut self, shutdown: impl Future<Output = ()>, file: Option<PathBuf>) -> anyhow::Result<()> {
        let runtime = self.runtime.take().context("it runs already")?;
        let local = tokio::task::LocalSet::new();
        let outcome = local.block_on(&runtime, self.serve(shutdown, file));
        tell(&[NotifyState::Stopping, NotifyState::Status("ending")]);
        self.status.set_state(DRAINING);
        self.connector.stop();
        let Self { threads, connector, .. } = &mut self;
        // What it leaves is not needed; that it ends in order is.
        drop(threads.halt(|| connector.discard()));
        // Nobody records any more: it is written to its end.
        let is_whole = self.journal.take().is_none_or(Journal::end);
        outcome?;
        ensure!(is_whole, "not all of the journal is durable; the log says from which record on");
        Ok(())
    }

    async fn serve(
        &mut self,
        shutdown: impl Future<Output = ()>,
        file: Option<PathBuf>,
    ) -> anyhow::Result<()> {
        let listener = self.http.take();
        let exports = self.exports.subscribe();
        let page = async {
            match listener {
                Some(listener) => gateway::serve(listener, exports).await,
                None => std::future::pending().await,
            }
        };
        let socket = self.socket.clone();
        let clients = socket.serve(self.exports.subscribe(), self.status.clone());
        let (mut shutdown, mut page, mut clients) =
            (std::pin::pin!(shutdown), std::pin::pin!(page), std::pin::pin!(clients));
        let mut hangup = signal(SignalKind::hangup())?;
        // A configuration that is read again, until it can be taken over.
        let mut reading = JoinSet::new();
        let mut beat = tokio::time::interval(COLD_BEAT);
        let pulse = self.cold_pulse();
        self.tell_ready();
        loop {
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                outcome = &mut clients => return outcome.context("the control socket failed"),
                outcome = &mut page => return outcome.context("the page failed"),
                outcome = self.connector.step() => outcome?,
                () = self.threads.watch() => bail!("a hot thread ended; the log says why"),
                _ = beat.tick() => {
                    pulse.beat(Phase::Wait, now_ns());
                    self.look_at_journal()?;
                }
                _ = hangup.recv() => match &file {
                    Some(file) => {
                        NotifyState::monotonic_usec_now().into_iter().for_each(|now| {
                            tell(&[NotifyState::Reloading, now]);
                        });
                        reading = JoinSet::new(); // The last one counts.
                        reading.spawn(read_again(file.clone(), self.config.clone(), self.hosts.clone()));
                    }
                    None => tracing::warn!("there is no configuration file to read again"),
                },
                Some(read) = reading.join_next() => {
                    self.reload(read.context("reading the configuration again panicked")?)?;
                }
            }
        }
    }

    fn cold_pulse(&self) -> Pulse {
        let placement = rt::Placement { name: "chartd", cpu: None, priority: 0, wait: rt::Wait::Block };
        Pulse::of_this_thread(self.status.clone(), COLD, &placement, 0, self.step_down.clone())
    }

    /// Tells systemd that frames are there.
    fn tell_ready(&self) {
        tell(&[NotifyState::Ready, NotifyState::Status(&self.in_a_line())]);
    }

    fn in_a_line(&self) -> String {
        let charts = self.config.charts.len();
        let journal = self.voice.line().map(|line| format!("; {line}")).unwrap_or_default();
        format!("{charts} charts at {}{journal}", self.socket.path().display())
    }

    /// Says how the journal goes, where that has changed.
    fn look_at_journal(&mut self) -> anyhow::Result<()> {
        let Some(journal) = &self.journal else { return Ok(()) };
        if journal.has_ended() {
            bail!("the journal's thread ended; the log says why");
        }
        let before = self.voice.line();
        for saying in self.voice.hear(&Seen::in_status(&self.status)) {
            match saying {
                Saying::Worse(text) | Saying::Failed(text) => tracing::error!("{text}"),
                Saying::Well(text) => tracing::info!("{text}"),
            }
        }
        if self.voice.line() != before {
            self.tell_degraded();
            tell(&[NotifyState::Status(&self.in_a_line())]);
        }
        Ok(())
    }

    /// Tells readers what is lacking.
    fn tell_degraded(&self) {
        let mut lines = self.degraded.clone();
        lines.extend(self.voice.line().map(str::to_owned));
        self.status.set_degraded(&lines);
    }

    /// Takes a configuration over that was read again. One that is wrong changes nothing.
    fn reload(&mut self, read: anyhow::Result<(Config, Vec<String>)>) -> anyhow::Result<()> {
        let outcome = read.and_then(|(config, guessed)| {
            let identity = Identity { generation: self.identity.generation + 1, ..self.identity };
            // All that can fail comes before the old threads stop.
            let sources = feeds::sources(&config, &self.hosts)?;
            let mut planes = planes(&config, identity, &self.status)?;
            planes.2.extend(guessed);
            Ok((config, identity, sources, planes))
        });
        match outcome {
            Ok((config, identity, sources, planes)) => self.take_over(config, identity, sources, planes)?,
            Err(error) => tracing::error!("the configuration stays as it was: {error:#}"),
        }
        self.tell_ready();
        Ok(())
    }

    fn take_over(
        &mut self,
        mut config: Config,
        identity: Identity,
        sources: Vec<feeds::Source>,
        (engine, mut renderer, mut degraded): (Engine, Renderer, Vec<String>),
    ) -> anyhow::Result<()> {
        let is_other = |new: bool, what| {
            if new {
                tracing::warn!("another {what} takes a restart")
            }
        };
        is_other(config.socket.as_deref().is_some_and(|path| path != self.socket.path()), "socket");
        is_other(config.http.is_some() && config.http != self.config.http, "address of the page");
        is_other(config.journal != self.config.journal, "journal");
        (config.socket, config.http) = (self.config.socket.clone(), self.config.http);
        config.journal = self.config.journal.clone();
        let kept = feeds::kept(&self.config, &config);
        self.connector.stop();
        let connector = &mut self.connector;
        let mut handover = self.threads.halt(|| connector.drain())?;
        let start = Start::of(&config, identity, &kept).encode();
        handover.engine.reconfigure(engine, &kept, (identity.generation as u32, start), now_ns());
        handover.move_links(&kept);
        tell_days(&config, &mut handover);
        handover.arbitrate(&feeds::mold_plans(&sources), &kept);
        renderer.step(); // With the candles that were taken over.
        renderer.announce()?;
        let wisher =
            renderer.take_wisher(self.connector.waker()).context("the charts are adjusted already")?;
        let exports = exports(&self.status, handover.engine.engine(), &renderer, wisher, identity)?;
        self.connector.reconfigure(sources, &kept);
        let setting = Setting { config: &config, status: &self.status, step_down: &self.step_down };
        let (threads, refused) = Threads::start(&setting, renderer, handover)?;
        self.threads = threads;
        degraded.extend(refused);
        degraded.extend_from_slice(&self.lasting);
        self.degraded = degraded;
        self.tell_degraded();
        self.status.set_threads(self.threads.count(), identity.generation);
        self.status.count(shm::status::Counter::Reloads, 1);
        (self.config, self.identity) = (config, identity);
        self.exports.send_replace(Rc::new(exports)); // Whoever has the old ones is told.
        tracing::info!("configuration {} is in force", identity.generation);
        Ok(())
    }
}

/// Reads a configuration and learns what it leaves open. Returns what could not be learnt.
async fn read_again(file: PathBuf, running: Config, hosts: Hosts) -> anyhow::Result<(Config, Vec<String>)> {
    let mut config = Config::load(&file)?;
    let guessed = metadata::learn(&mut config, Some(&running), &hosts).await;
    Ok((config, guessed))
}

/// Both planes of a configuration, and what the machine lacks for them.
fn planes(
    config: &Config,
    identity: Identity,
    status: &Arc<StatusWriter>,
) -> anyhow::Result<(Engine, Renderer, Vec<String>)> {
    let huge_pages = config.realtime.huge_pages;
    let plan = EnginePlan {
        feeds: &feeds::feed_plans(config),
        bars: config.bars,
        published: config.bars,
        huge_pages,
        identity,
    };
    let engine = Engine::new(&plan, status.clone(), now_ns)?;
    let market = engine.market().reader_fd()?;
    let renderer = Renderer::new(&chart_plans(config)?, market, huge_pages, status.clone(), now_ns)?;
    let small = huge_pages && renderer.page_bytes().is_some_and(|bytes| bytes < 2 << 20);
    let line = "frames lie in 4 KiB pages: there are too few 2 MiB pages (grant them with vm.nr_hugepages)";
    Ok((engine, renderer, small.then(|| line.to_owned()).into_iter().collect()))
}

/// Has the engine go on from what the journal says of the runs before. Where it cannot be read charts begin empty.
fn go_on_from(opened: &Opened, config: &Config, engine: &mut Engine) {
    let mut progress = |Progress { bytes, read }| {
        let status = format!("reading the journal: {} of {} MiB", read >> 20, bytes >> 20);
        // systemd is to be patient for as long as it goes on.
        tell(&[NotifyState::ExtendTimeoutUsec(PATIENCE_US), NotifyState::Status(&status)]);
    };
    match rebuild(&opened.folder(), opened.history(), config, &mut progress) {
        Ok(Some(mut old)) => {
            let is_meant = |place: usize| !config.feeds[place].is_from_start();
            engine.gather(&mut old, is_meant);
        }
        Ok(None) => {}
        Err(error) => tracing::error!("charts begin empty: {error:#}"),
    }
}

/// Tells the engine on which day it is, for venues that tell the time of day only.
fn tell_days(config: &Config, handover: &mut Handover) {
    for (feed, of) in config.feeds.iter().enumerate() {
        if let Some(day) = of.day() {
            handover.engine.take(&Input::Day { feed, midnight_ms: day.midnight_ms() }, now_ns());
        }
    }
}

fn exports(
    status: &StatusWriter,
    engine: &Engine,
    renderer: &Renderer,
    wisher: Wisher,
    identity: Identity,
) -> anyhow::Result<Exports> {
    Ok(Exports {
        generation: identity.generation,
        status: status.reader_fd()?,
        market: engine.market().reader_fd()?,
        charts: renderer.exports()?,
        doorbell: renderer.doorbell().clone(),
        wisher: RefCell::new(wisher),
    })
}

/// What is to be drawn.
fn chart_plans(config: &Config) -> anyhow::Result<Vec<ChartPlan>> {
    let plan = |chart: &crate::config::Chart| {
        let price_digits = config.price_digits(&chart.source);
        Ok(ChartPlan {
            name: chart.name(),
            size: chart.size,
            theme: chart.theme,
            look: chart.look(price_digits).map_err(anyhow::Error::msg)?,
            price_lines: chart.price_lines(price_digits).map_err(anyhow::Error::msg)?,
            time_zone: chart.time_zone.clone(),
            history: config.bars,
            leases: config.leases,
        })
    };
    config.charts.iter().map(plan).collect()
}

fn listen(address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)
        .with_context(|| format!("cannot serve the page at {address}; name another address with --http"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// What tells this daemon from every other.
fn random_epoch() -> anyhow::Result<[u64; 2]> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    let (words, _) = bytes.as_chunks::<8>();
    Ok([u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])])
}

/// Tells systemd. Without it there is nobody to tell, and nothing to do about that.
fn tell(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}

/// Done when the process is asked to end, by SIGINT or SIGTERM.
pub async fn interrupted() {
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    let [interrupt, terminate] = &mut signals;
    let (Ok(interrupt), Ok(terminate)) = (interrupt, terminate) else {
        return std::future::pending().await; // Without handlers, signals end the process by themselves.
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
