//! A running daemon: the two hot threads, and the cold plane that serves everything else on one thread.

use crate::clock::now_ns;
use crate::config::Config;
use crate::control::{ControlSocket, Exports};
use crate::engine::{Engine, FeedPlan};
use crate::gateway;
use crate::ingest::connect::{Backoff, Endpoint, connect, tls_config};
use crate::ingest::hot::{Drawing, HotLoop};
use crate::ingest::{Event, Local, Remote, channel};
use crate::render::{self, ChartPlan, Renderer};
use crate::rt::{self, Placement};
use crate::uring::{Bell, Ring};
use anyhow::{Context, bail};
use market::{Instrument, Timeframe};
use shm::status::{StatusReader, StatusWriter};
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::task::JoinSet;

/// A daemon whose threads run and whose first frames are published.
pub struct Service {
    status: Arc<StatusWriter>,
    exports: Exports,
    socket: ControlSocket,
    http: Option<std::net::TcpListener>,
    remote: Remote,
    feeds: Vec<Link>,
    threads: Threads,
}

/// A feed as the cold plane sees it.
struct Link {
    endpoint: Arc<Endpoint>,
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// The hot threads. They end when this is dropped.
struct Threads {
    stop: Arc<AtomicBool>,
    handles: Vec<JoinHandle<()>>,
}

impl Service {
    /// Takes all memory, starts the hot threads and listens. Nothing is connected before [`Service::run`].
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        let feeds = config.feeds.iter().map(|feed| link(config, feed)).collect::<anyhow::Result<_>>()?;
        let path = config.socket.clone().unwrap_or_else(chart_client::own_socket);
        let socket = ControlSocket::bind(&path)?;
        let http = config.http.map(listen).transpose()?;
        let status = Arc::new(StatusWriter::create(std::process::id(), now_ns())?);
        let huge_pages = config.realtime.huge_pages;
        let engine =
            Engine::new(&feed_plans(config), config.bars, config.bars, huge_pages, status.clone(), now_ns)?;
        let market = engine.market().reader_fd()?;
        let renderer =
            Renderer::new(&chart_plans(config), market.try_clone()?, huge_pages, status.clone(), now_ns)?;
        let mut degraded = degraded_pages(&renderer, huge_pages);
        let exports = Exports { status: status.reader_fd()?, market, charts: renderer.exports()? };
        if config.realtime.lock_memory {
            degraded.extend(rt::lock_memory());
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (remote, local) = channel(stop.clone())?;
        let (threads, refused) = Threads::start(config, stop, engine, renderer, local, &status)?;
        degraded.extend(refused);
        if config.realtime.strict && !degraded.is_empty() {
            bail!("the configuration says strict = true, and this machine lacks: {}", degraded.join("; "));
        }
        status.set_degraded(&degraded);
        status.set_state(1);
        Ok(Self { status, exports, socket, http, remote, feeds, threads })
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
        Ok(StatusReader::open(self.exports.status.try_clone()?)?)
    }

    /// Serves until `shutdown` is done, then ends the hot threads.
    pub fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let local = tokio::task::LocalSet::new();
        let Self { status, exports, socket, http, mut remote, feeds, threads } = self;
        let exports = Rc::new(exports);
        let outcome = local.block_on(&runtime, async {
            let page = async {
                match http {
                    Some(listener) => gateway::serve(listener, exports.clone()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown => Ok(()),
                outcome = socket.serve(exports.clone(), status.clone()) => outcome.context("the control socket failed"),
                outcome = page => outcome.context("the page failed"),
                outcome = keep_connected(&mut remote, &feeds) => outcome,
                () = threads.watch() => Err(anyhow::anyhow!("a hot thread ended; the log says why")),
            }
        });
        status.set_state(2);
        drop(threads);
        outcome
    }
}

fn link(config: &Config, feed: &crate::config::Feed) -> anyhow::Result<Link> {
    let mut klines: Vec<&str> = Vec::new();
    let own = |chart: &&crate::config::Chart| {
        chart.source.venue == feed.venue && feed.symbols.contains(&chart.source.symbol)
    };
    for chart in config.charts.iter().filter(own) {
        if !klines.contains(&chart.timeframe.name()) {
            klines.push(chart.timeframe.name());
        }
    }
    let endpoint = Arc::new(feed.endpoint(&klines).map_err(anyhow::Error::msg)?);
    let tls = endpoint.tls.then(|| tls_config(feed.ca_file.as_deref())).transpose()?;
    Ok(Link { endpoint, tls })
}

fn listen(address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)
        .with_context(|| format!("cannot serve the page at {address}; name another address with --http"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Which candles each feed's instruments need: those of its charts.
pub fn feed_plans(config: &Config) -> Vec<FeedPlan> {
    let timeframes = |venue, symbol: &String| {
        let mut wanted: Vec<Timeframe> = Vec::new();
        for chart in &config.charts {
            let fits = chart.source.venue == venue && chart.source.symbol == *symbol;
            if fits && !wanted.contains(&chart.timeframe) {
                wanted.push(chart.timeframe);
            }
        }
        wanted
    };
    let plan = |feed: &crate::config::Feed| FeedPlan {
        venue: feed.venue,
        instruments: feed
            .symbols
            .iter()
            .map(|symbol| {
                let instrument = Instrument {
                    price_digits: feed.price_digits,
                    qty_digits: feed.quantity_digits,
                    ..Instrument::new(feed.venue, symbol.clone())
                };
                (instrument, timeframes(feed.venue, symbol))
            })
            .collect(),
    };
    config.feeds.iter().map(plan).collect()
}

/// What is to be drawn.
pub fn chart_plans(config: &Config) -> Vec<ChartPlan> {
    let plan = |chart: &crate::config::Chart| ChartPlan {
        name: chart.name(),
        size: chart.size,
        theme: chart.theme,
        time_zone: chart.time_zone.clone(),
    };
    config.charts.iter().map(plan).collect()
}

fn degraded_pages(renderer: &Renderer, wanted: bool) -> Vec<String> {
    let small = wanted && renderer.page_bytes().is_some_and(|bytes| bytes < 2 << 20);
    let line = "frames lie in 4 KiB pages: no 2 MiB pages are free (grant them with vm.nr_hugepages)";
    small.then(|| line.to_owned()).into_iter().collect()
}

impl Threads {
    /// Starts both threads and waits until each is placed. Returns what they were refused.
    fn start(
        config: &Config,
        stop: Arc<AtomicBool>,
        engine: Engine,
        renderer: Renderer,
        local: Local,
        status: &Arc<StatusWriter>,
    ) -> anyhow::Result<(Self, Vec<String>)> {
        let plan = rt::place(&config.realtime);
        let mut refused = Vec::new();
        if plan.ingest.cpu.is_none() {
            refused.push(
                "no CPU is isolated: the hot threads share theirs (isolate two with isolcpus=)".to_owned(),
            );
        }
        let mut threads = Self { stop: stop.clone(), handles: Vec::new() };
        let drawing = match &plan.render {
            None => Drawing::Here(Box::new(renderer)),
            Some(render) => {
                let bell = Arc::new(Bell::default());
                let drawing = Drawing::Elsewhere(bell.clone());
                refused.extend(threads.spawn(render, 16, move |ring, placement| {
                    render::run(renderer, ring, &bell, placement, &stop)
                })?);
                drawing
            }
        };
        status.set_threads(1 + u64::from(plan.render.is_some()));
        let status = status.clone();
        refused.extend(threads.spawn(&plan.ingest, 256, move |ring, placement| {
            HotLoop::new(ring, local, engine, status, drawing, placement.wait).run()
        })?);
        Ok((threads, refused))
    }

    /// Starts a thread with a ring of its own, and waits until it is placed.
    fn spawn(
        &mut self,
        placement: &Placement,
        entries: u32,
        run: impl FnOnce(Ring, &Placement) -> std::io::Result<()> + Send + 'static,
    ) -> anyhow::Result<Vec<String>> {
        let (ready, placed) = mpsc::sync_channel(1);
        let placement = placement.clone();
        let name = placement.name;
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Made before the priority is raised: helpers of the kernel would inherit it.
            let ring = match Ring::new(entries) {
                Ok(ring) => ring,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let _ = ready.send(Ok(placement.apply())); // The starter waits for it.
            if let Err(error) = run(ring, &placement) {
                tracing::error!("{name} failed: {error}");
            }
        })?;
        self.handles.push(thread);
        Ok(placed.recv().with_context(|| format!("{name} ended at once"))??)
    }

    /// Done when a thread has ended that should not have.
    async fn watch(&self) {
        while !self.handles.iter().any(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.store(true, Release);
        for handle in self.handles.drain(..) {
            let _ = handle.join(); // A panic was printed by the thread itself.
        }
    }
}

/// Connects every feed, and again whenever a connection ends.
async fn keep_connected(remote: &mut Remote, feeds: &[Link]) -> anyhow::Result<()> {
    let mut backoffs: Vec<_> = feeds.iter().map(|_| Backoff::default()).collect();
    let (mut attempts, mut malformed) = (JoinSet::new(), 0u64);
    for feed in 0..feeds.len() {
        attempt(&mut attempts, feeds, feed, Duration::ZERO);
    }
    loop {
        let retry = tokio::select! {
            event = remote.next_event() => match event {
                Event::Closed { feed, reason } => {
                    tracing::warn!("{}: connection lost: {reason}", feeds[feed].endpoint);
                    Some(feed)
                }
                Event::Malformed { feed, error } => {
                    malformed += 1;
                    // Ever more rarely, so that a broken feed does not fill the log.
                    if malformed.is_power_of_two() {
                        let endpoint = &feeds[feed].endpoint;
                        tracing::warn!("{endpoint}: malformed frame, the {malformed}th reported: {error}");
                    }
                    None
                }
            },
            Some(finished) = attempts.join_next() => {
                let (feed, outcome) = finished.context("a connection attempt panicked")?;
                match outcome {
                    Ok(established) => {
                        tracing::info!("{}: connected", feeds[feed].endpoint);
                        backoffs[feed].connected();
                        (!remote.hand_over(established)).then_some(feed)
                    }
                    Err(error) => {
                        tracing::warn!("{error:#}");
                        Some(feed)
                    }
                }
            }
        };
        if let Some(feed) = retry {
            let random = std::hash::RandomState::new().build_hasher().finish();
            let pause = backoffs[feed].pause(random);
            tracing::info!("{}: connecting again in {} ms", feeds[feed].endpoint, pause.as_millis());
            attempt(&mut attempts, feeds, feed, pause);
        }
    }
}

type Attempt = (usize, anyhow::Result<crate::ingest::Established>);

fn attempt(attempts: &mut JoinSet<Attempt>, feeds: &[Link], feed: usize, pause: Duration) {
    let (endpoint, tls) = (feeds[feed].endpoint.clone(), feeds[feed].tls.clone());
    attempts.spawn(async move {
        tokio::time::sleep(pause).await;
        (feed, connect(feed, &endpoint, tls.as_ref()).await)
    });
}

/// Done when the process is asked to end, by SIGINT or SIGTERM.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
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
