//! The control socket: checks who asks, and hands over descriptors. Reading frames needs nothing further of it.
//!
//! At most [`MAX_CLIENTS`] clients, [`MAX_CLIENTS_PER_USER`] of one user. A client that says no hello within
//! a second is dropped. An answer that the client's socket cannot take ends its connection: the daemon
//! never waits for a client.

use anyhow::Context;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, getsockopt, listen, socket,
};
use nix::unistd::Group;
use shm::control::{MAGIC, Op, Reply, Request};
use shm::status::{Counter, StatusWriter};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// The most clients at a time.
pub const MAX_CLIENTS: usize = 256;
/// The most clients of one user at a time.
pub const MAX_CLIENTS_PER_USER: usize = 64;
/// How long a client may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(1);

/// What readers are given.
#[derive(Debug)]
pub struct Exports {
    /// The status segment.
    pub status: OwnedFd,
    /// The market segment.
    pub market: OwnedFd,
    /// Each chart's name, control and pixel segments.
    pub charts: Vec<(String, [OwnedFd; 2])>,
}

/// A socket that is listened to; its file is removed with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: OwnedFd,
    path: PathBuf,
}

impl ControlSocket {
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
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves clients for ever, on a [`tokio::task::LocalSet`].
    pub async fn serve(&self, exports: Rc<Exports>, status: Arc<StatusWriter>) -> anyhow::Result<()> {
        let listener = watched(self.listener.try_clone()?)?;
        let users = Rc::new(RefCell::new(HashMap::<u32, usize>::new()));
        loop {
            let mut ready = listener.readable().await?;
            let client =
                match accept4(self.listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK) {
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
            let Ok(peer) = getsockopt(&client, PeerCredentials) else {
                continue;
            };
            let Some(seat) = Seat::take(&users, peer.uid(), &status) else {
                status.count(Counter::ClientsRefused, 1);
                let refusal = Reply::refused("too many clients are connected; close some and try again");
                let _ = refusal.send(client.as_fd(), &[]); // It may be gone already.
                continue;
            };
            let (exports, status) = (exports.clone(), status.clone());
            tokio::task::spawn_local(async move {
                let _seat = seat;
                if let Err(error) = converse(client, &exports).await {
                    status.count(Counter::ClientsRefused, 1);
                    tracing::debug!("client of uid {}: {error:#}", peer.uid());
                }
            });
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // Somebody may have removed it already.
    }
}

/// A client's place among those that are allowed.
struct Seat {
    users: Rc<RefCell<HashMap<u32, usize>>>,
    uid: u32,
    status: Arc<StatusWriter>,
}

impl Seat {
    fn take(users: &Rc<RefCell<HashMap<u32, usize>>>, uid: u32, status: &Arc<StatusWriter>) -> Option<Self> {
        let mut table = users.borrow_mut();
        let total: usize = table.values().sum();
        let own = table.entry(uid).or_default();
        if total >= MAX_CLIENTS || *own >= MAX_CLIENTS_PER_USER {
            return None;
        }
        *own += 1;
        status.set(Counter::Clients, total as u64 + 1);
        Some(Self { users: users.clone(), uid, status: status.clone() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.users.borrow_mut();
        if let Some(own) = table.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                table.remove(&self.uid);
            }
        }
        self.status.set(Counter::Clients, table.values().sum::<usize>() as u64);
    }
}

/// A descriptor whose readiness tokio reports.
fn watched(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor stays open for as long as it is registered, since the `AsyncFd` owns it.
    unsafe { Ok(AsyncFd::register(fd)?) }
}

async fn converse(client: OwnedFd, exports: &Exports) -> anyhow::Result<()> {
    let client = watched(client)?;
    let first = tokio::time::timeout(HELLO_TIMEOUT, receive(&client));
    let Some(hello) = first.await.context("it said no hello in time")?? else {
        return Ok(());
    };
    let welcome = match check_hello(&hello) {
        Ok(()) => Reply::granted(),
        Err(reason) => {
            let _ = Reply::refused(&reason).send(client.get_ref().as_fd(), &[]); // It may be gone already.
            anyhow::bail!(reason);
        }
    };
    let segments = [exports.status.try_clone()?, exports.market.try_clone()?];
    welcome.send(client.get_ref().as_fd(), &segments)?;
    while let Some(request) = receive(&client).await? {
        let name = request.chart.to_string();
        let found = exports.charts.iter().find(|(chart, _)| *chart == name);
        let socket = client.get_ref().as_fd();
        match found {
            _ if request.op != Op::Open as u64 => {
                Reply::refused("there is no such request").send(socket, &[])?
            }
            None => Reply::refused(&format!("there is no chart {name}")).send(socket, &[])?,
            Some((_, [control, pixels])) => {
                Reply::granted().send(socket, &[control.try_clone()?, pixels.try_clone()?])?;
            }
        }
    }
    Ok(())
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
