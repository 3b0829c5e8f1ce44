//! The control socket: checks who asks, hands over descriptors, wakes who waits, and takes adjustments of charts.
//! Reading frames needs nothing further of it.
//!
//! At most [`MAX_CLIENTS`] clients, [`MAX_CLIENTS_PER_USER`] of one user, [`MAX_CONNECTS`] new ones in a tenth of
//! a second. A client that says no hello within a second is dropped, and one that does not take what it asked for:
//! the daemon never waits for a client.

use crate::doorbell::{Doorbell, Frame};
use crate::now_ns;
use crate::render::Export;
use crate::wishes::Wisher;
use anyhow::Context;
use nix::sys::socket::sockopt::{PeerCredentials, SockType as SocketType};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, getsockname, getsockopt,
    listen, socket,
};
use nix::unistd::Group;
use shm::control::{MAGIC, Op, Reply, Request};
use shm::lease::LeaseGrant;
use shm::record::Text;
use shm::status::{Counter, Stage, StatusWriter};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// The most clients at a time.
pub const MAX_CLIENTS: usize = 256;
/// The most clients of one user at a time.
pub const MAX_CLIENTS_PER_USER: usize = 64;
/// The most clients that are let in within a tenth of a second; the others wait in the kernel's queue.
pub const MAX_CONNECTS: u32 = 100;
/// The time for [`MAX_CONNECTS`].
const CONNECT_SPAN: Duration = Duration::from_millis(100);
/// How long a client may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(1);
/// The name under which systemd hands over the socket that it listens to.
const ACTIVATED: &str = "control";

/// What readers are given, by one configuration.
#[derive(Debug)]
pub struct Exports {
    /// Which configuration it is, from 1.
    pub generation: u64,
    /// The status segment.
    pub status: OwnedFd,
    /// The market segment.
    pub market: OwnedFd,
    /// Each chart's segments and leases.
    pub charts: Vec<Export>,
    /// What rings when a frame is there that somebody waits for.
    pub doorbell: Arc<Doorbell>,
    /// Through which clients adjust the charts.
    pub wisher: RefCell<Wisher>,
}

/// A socket that is listened to. Its file is removed with it, unless systemd made it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: OwnedFd,
    path: PathBuf,
    is_own: bool,
}

impl ControlSocket {
    /// Takes the socket that systemd has activated, or listens at `path`.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let Ok(inherited) = sd_notify::listen_fds_with_names() else {
            return Self::bind(path);
        };
        for (fd, name) in inherited {
            if name == ACTIVATED {
                // SAFETY: systemd opened it for this process, and `listen_fds_with_names` tells of it only once.
                return Self::activated(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
        Self::bind(path)
    }

    fn activated(listener: OwnedFd) -> anyhow::Result<Self> {
        let kind = getsockopt(&listener, SocketType).context("systemd handed over what is no socket")?;
        anyhow::ensure!(
            kind == SockType::SeqPacket,
            "the unit's socket must be ListenSequentialPacket=, not {kind:?}"
        );
        let address = getsockname::<UnixAddr>(listener.as_raw_fd())?;
        let path = address.path().map(Path::to_owned).unwrap_or_default();
        nix::fcntl::fcntl(&listener, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
        Ok(Self { listener, path, is_own: false })
    }

    /// Listens at `path`. Takes over a socket that nobody listens to any more.
    pub fn bind(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("cannot listen at {}", path.display());
        if let Some(dir) = path.parent()
            && !dir.exists()
        {
            fs::create_dir_all(dir).with_context(context)?;
            let mode = if nix::unistd::geteuid().is_root() { 0o755 } else { 0o700 };
            fs::set_permissions(dir, Permissions::from_mode(mode)).with_context(context)?;
        }
        let address = UnixAddr::new(path).with_context(context)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let make = || socket(AddressFamily::Unix, SockType::SeqPacket, flags, None);
        match connect(make()?.as_raw_fd(), &address) {
            Ok(()) => {
                anyhow::bail!("another chartd listens at {}; name another with --socket", path.display())
            }
            Err(nix::Error::ECONNREFUSED) => fs::remove_file(path).with_context(context)?,
            Err(_) => {}
        }
        let listener = make()?;
        bind(listener.as_raw_fd(), &address).with_context(context)?;
        // Whoever may connect is decided here: the owner, and the group `chartd` where there is one.
        if let Ok(Some(group)) = Group::from_name("chartd") {
            let _ = nix::unistd::chown(path, None, Some(group.gid)); // Without it the owner alone connects.
        }
        fs::set_permissions(path, Permissions::from_mode(0o660)).with_context(context)?;
        listen(&listener, Backlog::new(64)?).with_context(context)?;
        Ok(Self { listener, path: path.to_owned(), is_own: true })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves clients for ever, on a [`tokio::task::LocalSet`]. Each new value of `exports` is another configuration.
    pub async fn serve(
        &self,
        mut exports: watch::Receiver<Rc<Exports>>,
        status: Arc<StatusWriter>,
    ) -> anyhow::Result<()> {
        let current = exports.borrow_and_update().clone();
        let room = Room::new(status, current);
        let accepting = self.accept_all(&room);
        let mut accepting = std::pin::pin!(accepting);
        loop {
            let bell = watched(room.exports().doorbell.fd().try_clone_to_owned()?)?;
            let changed = tokio::select! {
                outcome = &mut accepting => return outcome,
                outcome = exports.changed() => outcome,
                outcome = room.answer_the_door(&bell) => return outcome,
            };
            changed.context("no configuration is in force any more")?;
            room.reconfigure(exports.borrow_and_update().clone());
        }
    }

    async fn accept_all(&self, room: &Rc<Room>) -> anyhow::Result<()> {
        let listener = watched(self.listener.try_clone()?)?;
        let (mut span_began, mut connects) = (tokio::time::Instant::now(), 0);
        loop {
            let mut ready = listener.readable().await?;
            if span_began.elapsed() >= CONNECT_SPAN {
                (span_began, connects) = (tokio::time::Instant::now(), 0);
            }
            if connects == MAX_CONNECTS {
                room.status.count(Counter::ClientsThrottled, 1);
                tokio::time::sleep_until(span_began + CONNECT_SPAN).await;
                continue;
            }
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let client = match accept4(self.listener.as_raw_fd(), flags) {
                // SAFETY: the kernel has just made the descriptor for this process, and nobody else owns it.
                Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd) },
                Err(nix::Error::EAGAIN) => {
                    ready.clear_ready();
                    continue;
                }
                Err(_) => {
                    // Out of descriptors, most likely: others must close first.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            connects += 1;
            room.clone().welcome(client);
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if self.is_own {
            let _ = fs::remove_file(&self.path); // Somebody may have removed it already.
        }
    }
}

/// Everybody who is connected, and what they wait for.
struct Room {
    status: Arc<StatusWriter>,
    exports: RefCell<Rc<Exports>>,
    clients: RefCell<HashMap<u64, Client>>,
    users: RefCell<HashMap<u32, usize>>,
    next_id: Cell<u64>,
}

/// One who is connected.
struct Client {
    socket: Rc<AsyncFd<OwnedFd>>,
    /// For each chart, by place, the frame that it waits for.
    waits: HashMap<usize, u64>,
    /// For each chart, by place, its lease.
    leases: HashMap<usize, LeaseGrant>,
}

impl Room {
    fn new(status: Arc<StatusWriter>, exports: Rc<Exports>) -> Rc<Self> {
        Rc::new(Self {
            status,
            exports: RefCell::new(exports),
            clients: RefCell::default(),
            users: RefCell::default(),
            next_id: Cell::new(0),
        })
    }

    fn exports(&self) -> Rc<Exports> {
        self.exports.borrow().clone()
    }

    /// Lets a client in, if there is room for one more of its user.
    fn welcome(self: Rc<Self>, client: OwnedFd) {
        let Ok(peer) = getsockopt(&client, PeerCredentials) else {
            return;
        };
        let Some(seat) = Seat::take(&self, peer.uid()) else {
            self.status.count(Counter::ClientsRefused, 1);
            let reason = "too many clients are connected; close some and try again";
            let _ = Reply::refused(Op::Hello as u64, reason).send(client.as_fd(), &[]); // It may be gone already.
            return;
        };
        tokio::task::spawn_local(async move {
            let seat = seat;
            if let Err(error) = converse(client, &self, seat.id).await {
                self.status.count(Counter::ClientsRefused, 1);
                tracing::debug!("client of uid {}: {error:#}", peer.uid());
            }
        });
    }

    /// Wakes those whose frames are there, whenever the bell rings.
    async fn answer_the_door(&self, bell: &AsyncFd<OwnedFd>) -> anyhow::Result<()> {
        loop {
            let mut ready = bell.readable().await?;
            let exports = self.exports();
            exports.doorbell.silence();
            ready.clear_ready();
            let waiting = |client: (&u64, &Client)| (*client.0, client.1.waits.clone());
            let waiting: Vec<_> = self.clients.borrow().iter().map(waiting).collect();
            for (id, waits) in waiting {
                for (chart, number) in waits {
                    // Arms the bell again for those that go on waiting.
                    if let Some(frame) = exports.doorbell.want(chart, number) {
                        self.wake(id, chart, frame, &exports);
                    }
                }
            }
        }
    }

    /// Tells a client that its frame is there. One that cannot take it is dropped: it asks, and does not read.
    fn wake(&self, id: u64, chart: usize, frame: Frame, exports: &Exports) {
        let mut clients = self.clients.borrow_mut();
        let Some(client) = clients.get_mut(&id) else { return };
        client.waits.remove(&chart);
        let reply = Reply {
            number: frame.number,
            chart: Text::new(&exports.charts[chart].name),
            ..Reply::granted(Op::Wait as u64, exports.generation)
        };
        if reply.send(client.socket.get_ref().as_fd(), &[]).is_err() {
            self.status.count(Counter::RingsRefused, 1);
            hang_up(&client.socket);
            return;
        }
        self.status.count(Counter::Rings, 1);
        self.status.recorder(Stage::Ring).record(now_ns().saturating_sub(frame.publish_ns));
    }

    /// Goes on with another configuration, and tells everybody.
    fn reconfigure(&self, exports: Rc<Exports>) {
        let generation = exports.generation;
        *self.exports.borrow_mut() = exports;
        for client in self.clients.borrow_mut().values_mut() {
            client.waits.clear();
            client.leases.clear();
            let told = Reply::granted(Op::Reconfigured as u64, generation);
            if told.send(client.socket.get_ref().as_fd(), &[]).is_err() {
                hang_up(&client.socket);
            }
        }
        self.count_leases();
    }

    fn count_leases(&self) {
        let leases: usize = self.clients.borrow().values().map(|client| client.leases.len()).sum();
        self.status.set(Counter::Leases, leases as u64);
    }
}

/// Ends a conversation from this side: whoever reads from it finds its end.
fn hang_up(socket: &AsyncFd<OwnedFd>) {
    let _ = nix::sys::socket::shutdown(socket.get_ref().as_raw_fd(), nix::sys::socket::Shutdown::Both);
}

/// A client's place among those that are allowed.
struct Seat {
    room: Rc<Room>,
    uid: u32,
    id: u64,
}

impl Seat {
    fn take(room: &Rc<Room>, uid: u32) -> Option<Self> {
        let mut table = room.users.borrow_mut();
        let total: usize = table.values().sum();
        let own = table.entry(uid).or_default();
        if total >= MAX_CLIENTS || *own >= MAX_CLIENTS_PER_USER {
            return None;
        }
        *own += 1;
        room.status.set(Counter::Clients, total as u64 + 1);
        room.next_id.set(room.next_id.get() + 1);
        Some(Self { room: room.clone(), uid, id: room.next_id.get() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.clients.borrow_mut().remove(&self.id);
        self.room.count_leases();
        let mut table = self.room.users.borrow_mut();
        if let Some(own) = table.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                table.remove(&self.uid);
            }
        }
        self.room.status.set(Counter::Clients, table.values().sum::<usize>() as u64);
    }
}

/// A descriptor whose readiness tokio reports.
pub(crate) fn watched(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor stays open for as long as it is registered, since the `AsyncFd` owns it.
    unsafe { Ok(AsyncFd::register(fd)?) }
}

async fn converse(client: OwnedFd, room: &Room, id: u64) -> anyhow::Result<()> {
    let socket = Rc::new(watched(client)?);
    let first = tokio::time::timeout(HELLO_TIMEOUT, receive(&socket));
    let Some(hello) = first.await.context("it said no hello in time")?? else {
        return Ok(());
    };
    if let Err(reason) = check_hello(&hello) {
        let _ = Reply::refused(Op::Hello as u64, &reason).send(socket.get_ref().as_fd(), &[]); // It may be gone.
        anyhow::bail!(reason);
    }
    let client = Client { socket: socket.clone(), waits: HashMap::new(), leases: HashMap::new() };
    room.clients.borrow_mut().insert(id, client);
    let mut request = hello;
    loop {
        if let Some((reply, fds)) = answer(&request, room, id)? {
            reply.send(socket.get_ref().as_fd(), &fds)?;
        }
        match receive(&socket).await? {
            Some(next) => request = next,
            None => return Ok(()),
        }
    }
}

/// What is answered to a request of a client that has said hello; nothing if it has to wait.
fn answer(request: &Request, room: &Room, id: u64) -> anyhow::Result<Option<(Reply, Vec<OwnedFd>)>> {
    let exports = room.exports();
    let granted = |fds| Ok(Some((Reply::granted(request.op, exports.generation), fds)));
    let refused = |reason: &str| Ok(Some((Reply::refused(request.op, reason), Vec::new())));
    if request.magic != MAGIC {
        return refused("the message is not one of chartd's");
    }
    let name = request.chart.to_string();
    let found = exports.charts.iter().position(|chart| chart.name == name);
    match (request.op, found) {
        (op, _) if op == Op::Hello as u64 => {
            // Said again after a new configuration. What was leased belongs to the old one.
            if let Some(client) = room.clients.borrow_mut().get_mut(&id) {
                client.leases.clear();
            }
            room.count_leases();
            granted(vec![exports.status.try_clone()?, exports.market.try_clone()?])
        }
        (op, None) if (Op::Open as u64..=Op::Wait as u64).contains(&op) || op == Op::Adjust as u64 => {
            refused(&format!("there is no chart {name}"))
        }
        (op, Some(chart)) if op == Op::Open as u64 => {
            let [control, pixels] = &exports.charts[chart].segments;
            granted(vec![control.try_clone()?, pixels.try_clone()?])
        }
        (op, Some(chart)) if op == Op::Lease as u64 => {
            match lease(&exports.charts[chart], room, id, chart)? {
                Ok(page) => granted(vec![page]),
                Err(reason) => refused(&reason),
            }
        }
        (op, Some(chart)) if op == Op::Wait as u64 => {
            if let Some(client) = room.clients.borrow_mut().get_mut(&id) {
                client.waits.insert(chart, request.number);
            }
            if let Some(frame) = exports.doorbell.want(chart, request.number) {
                room.wake(id, chart, frame, &exports);
            }
            Ok(None)
        }
        (op, Some(chart)) if op == Op::Adjust as u64 => {
            match exports.wisher.borrow_mut().adjust(chart, &request.adjustment) {
                Ok(number) => {
                    let granted = Reply::granted(op, exports.generation);
                    Ok(Some((Reply { number, chart: request.chart, ..granted }, Vec::new())))
                }
                Err(error) => refused(&error.to_string()),
            }
        }
        _ => refused("there is no such request"),
    }
}

/// Grants a client a lease on a chart, or tells why not.
fn lease(export: &Export, room: &Room, id: u64, chart: usize) -> anyhow::Result<Result<OwnedFd, String>> {
    let mut clients = room.clients.borrow_mut();
    let Some(client) = clients.get_mut(&id) else {
        return Ok(Err("the client is gone".into()));
    };
    if client.leases.contains_key(&chart) {
        return Ok(Err(format!("this client has a lease on {} already", export.name)));
    }
    let Some(grant) = export.leases.grant()? else {
        let most = export.leases.capacity();
        return Ok(Err(format!("all {most} leases on {} are taken; copy frames instead", export.name)));
    };
    let page = grant.fd()?;
    client.leases.insert(chart, grant);
    drop(clients);
    room.count_leases();
    Ok(Ok(page))
}

fn check_hello(hello: &Request) -> Result<(), String> {
    if hello.magic != MAGIC || hello.op != Op::Hello as u64 {
        return Err("the first message must be a hello".into());
    }
    if hello.abi_major != shm::ABI_MAJOR {
        return Err(format!("this chartd speaks ABI {}, the client {}", shm::ABI_MAJOR, hello.abi_major));
    }
    Ok(())
}

/// The next request; `None` when the client has closed.
async fn receive(client: &AsyncFd<OwnedFd>) -> std::io::Result<Option<Request>> {
    loop {
        let mut ready = client.readable().await?;
        match ready.try_io(|client| Request::receive(client.get_ref().as_fd())) {
            Ok(received) => return received,
            Err(_would_block) => {}
        }
    }
}
