//! The ways to publish that are compared: each a writer, and a reader in another process.

use anyhow::{Context, bail, ensure};
use iceoryx2::node::Node;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{LogLevel, NodeBuilder, ipc, set_log_level};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use shm::frame::{Backend, FrameInfo, FramePlan, FrameReader, FrameWriter, LeasingReader, Rect};
use shm::prefix::Identity;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering::*};

/// An arm.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    OursSpinning,
    IceoryxSpinning,
    Futex,
    Pipe,
    Seqpacket,
    IceoryxSleeping,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub(super) const ALL: [Self; 6] = [
        Self::OursSpinning,
        Self::IceoryxSpinning,
        Self::Futex,
        Self::Pipe,
        Self::Seqpacket,
        Self::IceoryxSleeping,
    ];
}

/// Publishes pictures.
pub(super) trait Writer {
    fn publish(&mut self, picture: &[u32]) -> anyhow::Result<()>;
}

/// Waits for pictures.
pub(super) trait Reader {
    /// Waits for the next one and hands over its pixels, in one part or row by row.
    fn next(&mut self, part: &mut dyn FnMut(&[u32])) -> anyhow::Result<()>;
}

/// The writer of an arm, and what its reader must be told.
pub(super) fn writer(kind: Kind, pixels: usize) -> anyhow::Result<(Box<dyn Writer>, String)> {
    match kind {
        Kind::OursSpinning => Ours::writer(pixels),
        Kind::IceoryxSpinning => Iceoryx::writer(pixels, false),
        Kind::IceoryxSleeping => Iceoryx::writer(pixels, true),
        Kind::Futex => Futex::writer(pixels),
        Kind::Pipe => {
            let (reader, writer) = nix::unistd::pipe()?;
            Ok((Box::new(Pipe(writer.into(), None)), inherit(&[reader])?))
        }
        Kind::Seqpacket => {
            let kind = SockType::SeqPacket;
            let (reader, writer) = socketpair(AddressFamily::Unix, kind, None, SockFlag::empty())?;
            Ok((Box::new(Seqpacket(writer, None)), inherit(&[reader])?))
        }
    }
}

/// The reader of an arm, by what its writer told.
pub(super) fn reader(kind: Kind, pixels: usize, token: &str) -> anyhow::Result<Box<dyn Reader>> {
    Ok(match kind {
        Kind::OursSpinning => Box::new(Ours::reader(token)?),
        Kind::IceoryxSpinning => Box::new(Iceoryx::reader(token, false)?),
        Kind::IceoryxSleeping => Box::new(Iceoryx::reader(token, true)?),
        Kind::Futex => Box::new(Futex::reader(pixels, token)?),
        Kind::Pipe => {
            let [reader] = inherited(token)?;
            Box::new(Pipe(reader.into(), Some(vec![0; pixels * 4])))
        }
        Kind::Seqpacket => {
            let [reader] = inherited(token)?;
            Box::new(Seqpacket(reader, Some(vec![0; pixels * 4])))
        }
    })
}

/// Lets the child process have descriptors. They stay open here until it has ended, and a little longer.
fn inherit(fds: &[OwnedFd]) -> anyhow::Result<String> {
    let mut numbers = Vec::new();
    for fd in fds {
        // A copy without close-on-exec. Leaked: a bench makes a few hundred at the most.
        numbers.push(nix::unistd::dup(fd)?.into_raw_number());
    }
    Ok(numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}

trait IntoRawNumber {
    fn into_raw_number(self) -> i32;
}

impl IntoRawNumber for OwnedFd {
    fn into_raw_number(self) -> i32 {
        std::os::fd::IntoRawFd::into_raw_fd(self)
    }
}

fn inherited<const N: usize>(token: &str) -> anyhow::Result<[OwnedFd; N]> {
    let numbers: Vec<i32> = token.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    // SAFETY: the parent left these descriptors open for this process, and names each once.
    let fds: Vec<_> = numbers.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect();
    <[OwnedFd; N]>::try_from(fds).ok().context("the number of descriptors is wrong")
}

/// chartd's own slots: the reader spins on the head and reads the leased frame in place.
struct Ours(FrameWriter);

struct OursReader {
    reader: LeasingReader,
    newest: u64,
}

impl Ours {
    fn writer(pixels: usize) -> anyhow::Result<(Box<dyn Writer>, String)> {
        let (width, height) = if pixels == 16 { (16, 1) } else { (1920, 1080) };
        let identity = Identity { epoch: [1, 2], generation: 1 };
        let plan =
            FramePlan { chart: "binance:X/1m", width, height, slots: 4, leases: 1, huge: true, identity };
        let frames = FrameWriter::create(&plan)?;
        let [control, pixels] = frames.reader_fds()?;
        let grant = frames.leases().clone().grant()?.context("a lease is free")?;
        let token = inherit(&[control, pixels, grant.fd()?])?;
        std::mem::forget(grant); // For as long as the writer lives.
        Ok((Box::new(Self(frames)), token))
    }

    fn reader(token: &str) -> anyhow::Result<OursReader> {
        let [control, pixels, lease] = inherited(token)?;
        Ok(OursReader { reader: FrameReader::open(control, pixels)?.with_lease(lease)?, newest: 0 })
    }
}

impl Writer for Ours {
    fn publish(&mut self, picture: &[u32]) -> anyhow::Result<()> {
        let (width, height) = (self.0.header().width as u16, self.0.header().height as u16);
        let slot = self.0.begin().context("a slot is free")?;
        slot.copy(picture, Rect { x: 0, y: 0, width, height });
        slot.publish(FrameInfo {
            number: 0,
            venue_ms: 0,
            receive_ns: 0,
            decode_ns: 0,
            candle_ns: 0,
            render_ns: 0,
            drawn_ns: 0,
            publish_ns: 0,
            data_revision: 0,
            backend: Backend::CpuScalar as u64,
            bars: 0,
            adjustments: 0,
            damage_count: 0,
            damage: [0; shm::frame::MAX_DAMAGE],
        });
        Ok(())
    }
}

impl Reader for OursReader {
    fn next(&mut self, part: &mut dyn FnMut(&[u32])) -> anyhow::Result<()> {
        loop {
            while self.reader.reader().latest() == self.newest {
                std::hint::spin_loop();
            }
            if let Ok(frame) = self.reader.lease_latest() {
                self.newest = frame.info().number;
                let height = frame.height();
                (0..height).for_each(|y| part(frame.row(y)));
                return Ok(());
            }
        }
    }
}

/// iceoryx2's publish-subscribe, with its event for a reader that sleeps.
struct Iceoryx {
    _node: Node<ipc::Service>,
    publisher: Publisher<ipc::Service, [u32], ()>,
    notifier: Option<Notifier<ipc::Service>>,
}

struct IceoryxReader {
    _node: Node<ipc::Service>,
    subscriber: Subscriber<ipc::Service, [u32], ()>,
    listener: Option<Listener<ipc::Service>>,
}

impl Iceoryx {
    fn writer(pixels: usize, sleeping: bool) -> anyhow::Result<(Box<dyn Writer>, String)> {
        set_log_level(LogLevel::Fatal);
        let name = format!("chartd-bench-{}-{}", std::process::id(), chartd::now_ns());
        let node = NodeBuilder::new().create::<ipc::Service>()?;
        let service = node.service_builder(&name.as_str().try_into()?).publish_subscribe::<[u32]>();
        let service = service.max_publishers(1).max_subscribers(1).open_or_create()?;
        let publisher = service.publisher_builder().initial_max_slice_len(pixels).create()?;
        let events = node.service_builder(&name.as_str().try_into()?).event().open_or_create()?;
        let notifier = sleeping.then(|| events.notifier_builder().create()).transpose()?;
        // The services live as long as somebody has them open.
        std::mem::forget((service, events));
        Ok((Box::new(Self { _node: node, publisher, notifier }), name))
    }

    fn reader(name: &str, sleeping: bool) -> anyhow::Result<IceoryxReader> {
        set_log_level(LogLevel::Fatal);
        let node = NodeBuilder::new().create::<ipc::Service>()?;
        let service = node.service_builder(&name.try_into()?).publish_subscribe::<[u32]>();
        let service = service.max_publishers(1).max_subscribers(1).open_or_create()?;
        let subscriber = service.subscriber_builder().create()?;
        let events = node.service_builder(&name.try_into()?).event().open_or_create()?;
        let listener = sleeping.then(|| events.listener_builder().create()).transpose()?;
        std::mem::forget((service, events));
        Ok(IceoryxReader { _node: node, subscriber, listener })
    }
}

impl Writer for Iceoryx {
    fn publish(&mut self, picture: &[u32]) -> anyhow::Result<()> {
        let sample = self.publisher.loan_slice_uninit(picture.len())?;
        sample.write_from_slice(picture).send()?;
        if let Some(notifier) = &self.notifier {
            notifier.notify()?;
        }
        Ok(())
    }
}

impl Reader for IceoryxReader {
    fn next(&mut self, part: &mut dyn FnMut(&[u32])) -> anyhow::Result<()> {
        loop {
            if let Some(sample) = self.subscriber.receive()? {
                part(sample.payload());
                return Ok(());
            }
            match &self.listener {
                Some(listener) => drop(listener.blocking_wait(|_| {})?),
                None => std::hint::spin_loop(),
            }
        }
    }
}

/// Bare shared memory and a futex in it: word 0 counts messages, the picture begins at word 16.
struct Futex {
    map: memmap2::MmapRaw,
    pixels: usize,
    seen: u32,
}

impl Futex {
    fn writer(pixels: usize) -> anyhow::Result<(Box<dyn Writer>, String)> {
        let fd = nix::sys::memfd::memfd_create("bench", nix::sys::memfd::MFdFlags::empty())?;
        nix::unistd::ftruncate(&fd, (64 + 4 * pixels) as i64)?;
        let map = memmap2::MmapOptions::new().populate().map_raw(&fd)?;
        Ok((Box::new(Self { map, pixels, seen: 0 }), inherit(&[fd])?))
    }

    fn reader(pixels: usize, token: &str) -> anyhow::Result<Self> {
        let [fd] = inherited(token)?;
        Ok(Self { map: memmap2::MmapOptions::new().populate().map_raw(&fd)?, pixels, seen: 0 })
    }

    fn words(&self) -> &[AtomicU32] {
        // SAFETY: the mapping is page-aligned, holds 16 words and the picture, and is only used as atomics.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), 16 + self.pixels) }
    }

    fn futex(&self, operation: i32, value: u32) {
        // SAFETY: the address is a word of a mapping that lives as long as this; there is no timeout.
        unsafe {
            libc::syscall(libc::SYS_futex, self.words().as_ptr(), operation, value, std::ptr::null::<u8>())
        };
    }
}

impl Writer for Futex {
    fn publish(&mut self, picture: &[u32]) -> anyhow::Result<()> {
        let words = self.words();
        words[16..].iter().zip(picture).for_each(|(word, pixel)| word.store(*pixel, Relaxed));
        words[0].fetch_add(1, Release);
        self.futex(libc::FUTEX_WAKE, 1);
        Ok(())
    }
}

impl Reader for Futex {
    fn next(&mut self, part: &mut dyn FnMut(&[u32])) -> anyhow::Result<()> {
        while self.words()[0].load(Acquire) == self.seen {
            self.futex(libc::FUTEX_WAIT, self.seen);
        }
        self.seen = self.words()[0].load(Acquire);
        let pixels: Vec<u32> = self.words()[16..].iter().map(|word| word.load(Relaxed)).collect();
        part(&pixels);
        Ok(())
    }
}

struct Pipe(File, Option<Vec<u8>>);

impl Writer for Pipe {
    fn publish(&mut self, picture: &[u32]) -> anyhow::Result<()> {
        Ok(self.0.write_all(&bytes_of(picture))?)
    }
}

impl Reader for Pipe {
    fn next(&mut self, part: &mut dyn FnMut(&[u32])) -> anyhow::Result<()> {
        let buffer = self.1.as_mut().context("a reader has a buffer")?;
        self.0.read_exact(buffer)?;
        part(&pixels_of(buffer));
        Ok(())
    }
}

struct Seqpacket(OwnedFd, Option<Vec<u8>>);

impl Writer for Seqpacket {
    fn publish(&mut self, picture: &[u32]) -> anyhow::Result<()> {
        let bytes = bytes_of(picture);
        let sent = send(self.0.as_fd().as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL)?;
        ensure!(sent == bytes.len(), "the message was cut");
        Ok(())
    }
}

impl Reader for Seqpacket {
    fn next(&mut self, part: &mut dyn FnMut(&[u32])) -> anyhow::Result<()> {
        let buffer = self.1.as_mut().context("a reader has a buffer")?;
        if recv(self.0.as_fd().as_raw_fd(), buffer, MsgFlags::empty())? != buffer.len() {
            bail!("the writer is gone");
        }
        part(&pixels_of(buffer));
        Ok(())
    }
}

fn bytes_of(pixels: &[u32]) -> Vec<u8> {
    pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect()
}

fn pixels_of(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
}
