//! The disk of a virtual machine, served to QEMU by the NBD protocol: an image that is only read, and over it what this
//! machine wrote. It has a write cache that power loss empties, as real disks have.
//!
//! A block that was written and not flushed is in the cache. [`Disk::cut`] lets chance keep some of those and forgets
//! the others, each for itself: a disk promises no order. What was flushed stays. A full cache is written out, as a
//! disk may do at any time.

use crate::power_cut::Dice;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

const BLOCK_BYTES: usize = 4096;
/// What the cache holds at most.
const CACHE_BLOCKS: usize = (64 << 20) / BLOCK_BYTES;

type Block = [u8; BLOCK_BYTES];

struct Blocks {
    image: File,
    len_bytes: u64,
    /// Holds the blocks of `durable`, where the image has them.
    overlay: File,
    durable: BTreeSet<u64>,
    cache: BTreeMap<u64, Box<Block>>,
}

impl Blocks {
    fn block(&self, number: u64) -> io::Result<Block> {
        let mut block = [0; BLOCK_BYTES];
        if let Some(cached) = self.cache.get(&number) {
            return Ok(**cached);
        }
        let file = if self.durable.contains(&number) { &self.overlay } else { &self.image };
        file.read_exact_at(&mut block, number * BLOCK_BYTES as u64)?;
        Ok(block)
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        for (number, from, range) in pieces(offset, bytes.len()) {
            let block = self.block(number)?;
            let len = range.len();
            bytes[range].copy_from_slice(&block[from..from + len]);
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8], through: bool) -> io::Result<()> {
        for (number, from, range) in pieces(offset, bytes.len()) {
            let mut block = if range.len() == BLOCK_BYTES { [0; BLOCK_BYTES] } else { self.block(number)? };
            block[from..from + range.len()].copy_from_slice(&bytes[range]);
            self.cache.insert(number, Box::new(block));
            if through {
                self.keep(number)?;
            }
        }
        if self.cache.len() > CACHE_BLOCKS { self.flush() } else { Ok(()) }
    }

    /// Makes one block of the cache durable.
    fn keep(&mut self, number: u64) -> io::Result<()> {
        if let Some(block) = self.cache.remove(&number) {
            self.overlay.write_all_at(&*block, number * BLOCK_BYTES as u64)?;
            self.durable.insert(number);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some(number) = self.cache.keys().next().copied() {
            self.keep(number)?;
        }
        Ok(())
    }
}

/// The blocks that a range of the disk touches: the number, where in the block, and which of the range's bytes.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let from = (at % BLOCK_BYTES as u64) as usize;
        let piece = (BLOCK_BYTES - from).min(len - done);
        let range = done..done + piece;
        done += piece;
        (piece > 0).then_some((at / BLOCK_BYTES as u64, from, range))
    })
}

/// A disk. It outlives the QEMU that uses it, and can be given to another one.
pub(super) struct Disk {
    blocks: Arc<Mutex<Blocks>>,
    folder: PathBuf,
    serving: Option<(JoinHandle<()>, PathBuf)>,
    served: u32,
}

impl Disk {
    /// A disk over an image, whose size is a multiple of 4 KiB. Sockets are made in the folder; what the machine writes
    /// lies beside the image.
    pub(super) fn over(image: &Path, folder: &Path) -> io::Result<Self> {
        let image_folder = image.parent().unwrap_or(folder);
        let image = File::open(image)?;
        let blocks = Blocks {
            len_bytes: image.metadata()?.len(),
            image,
            overlay: tempfile::tempfile_in(image_folder)?,
            durable: BTreeSet::new(),
            cache: BTreeMap::new(),
        };
        let blocks = Arc::new(Mutex::new(blocks));
        Ok(Self { blocks, folder: folder.to_owned(), serving: None, served: 0 })
    }

    /// Waits for one QEMU at the socket that this returns.
    pub(super) fn serve(&mut self) -> io::Result<PathBuf> {
        self.end();
        self.served += 1;
        let socket = self.folder.join(format!("disk{}", self.served));
        let listener = UnixListener::bind(&socket)?;
        let blocks = self.blocks.clone();
        let serving = thread::spawn(move || {
            // A connection that breaks is a QEMU that was killed.
            let _ = listener.accept().and_then(|(stream, _)| serve(stream, &blocks));
        });
        self.serving = Some((serving, socket.clone()));
        Ok(socket)
    }

    /// Waits for the last request of a QEMU that has ended.
    fn end(&mut self) {
        if let Some((serving, socket)) = self.serving.take() {
            // Has it go on where no QEMU ever came.
            drop(UnixStream::connect(socket));
            let _ = serving.join();
        }
    }

    /// What power loss does to it, once QEMU has ended. Returns how many blocks were not flushed, and how many of them
    /// are lost.
    pub(super) fn cut(&mut self, seed: u64) -> io::Result<(usize, usize)> {
        self.end();
        let mut dice = Dice::new(seed);
        let mut blocks = lock(&self.blocks);
        let cached: Vec<_> = blocks.cache.keys().copied().collect();
        for &number in &cached {
            if dice.percent(50) {
                blocks.keep(number)?;
            }
        }
        let lost = blocks.cache.len();
        blocks.cache.clear();
        Ok((cached.len(), lost))
    }

    /// Writes what the machine wrote into a copy of the image.
    pub(super) fn write_into(&mut self, image: &Path) -> io::Result<()> {
        self.end();
        let image = File::options().write(true).open(image)?;
        let mut blocks = lock(&self.blocks);
        blocks.flush()?;
        for &number in &blocks.durable {
            image.write_all_at(&blocks.block(number)?, number * BLOCK_BYTES as u64)?;
        }
        Ok(())
    }
}

fn lock(blocks: &Mutex<Blocks>) -> MutexGuard<'_, Blocks> {
    blocks.lock().unwrap_or_else(PoisonError::into_inner)
}

const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const OPTION_ABORT: u32 = 2;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = 1 << 31 | 1;
/// The fixed newstyle handshake, and no zeroes after it.
const HANDSHAKE: u16 = 1 | 2;
/// This disk knows flush, writes that go through the cache, and writes of zeroes.
const FLAGS: u16 = 1 | 1 << 2 | 1 << 3 | 1 << 6;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const WRITE_ZEROES: u16 = 6;
/// EIO, in the protocol's numbers.
const ERROR_IO: u32 = 5;

/// Speaks with one QEMU until it disconnects or ends.
fn serve(mut stream: UnixStream, blocks: &Mutex<Blocks>) -> io::Result<()> {
    if !negotiate(&mut stream, lock(blocks).len_bytes)? {
        return Ok(());
    }
    loop {
        let header: [u8; 28] = array(&mut stream)?;
        let (magic, through, kind) = (be32(&header), header[5] & 1 == 1, be16(&header[6..]));
        let (handle, offset, len) = (&header[8..16], be64(&header[16..]), be32(&header[24..]) as usize);
        if magic != REQUEST_MAGIC || kind == DISCONNECT {
            return Ok(());
        }
        let mut data = Vec::new();
        if matches!(kind, READ | WRITE | WRITE_ZEROES) {
            data.resize(len, 0);
        }
        if kind == WRITE {
            stream.read_exact(&mut data)?;
        }
        let mut blocks = lock(blocks);
        let done = match kind {
            READ => blocks.read(offset, &mut data),
            WRITE | WRITE_ZEROES => blocks.write(offset, &data, through),
            FLUSH => blocks.flush(),
            _ => Err(io::ErrorKind::Unsupported.into()),
        };
        drop(blocks);
        let error = if done.is_ok() { 0 } else { ERROR_IO };
        let mut reply = [&SIMPLE_REPLY_MAGIC.to_be_bytes(), &u32::to_be_bytes(error), handle].concat();
        if kind == READ && error == 0 {
            reply.append(&mut data);
        }
        stream.write_all(&reply)?;
    }
}

/// Agrees on the one disk there is. Whether there was an agreement.
fn negotiate(stream: &mut UnixStream, len_bytes: u64) -> io::Result<bool> {
    let greeting = [&b"NBDMAGIC"[..], &OPTION_MAGIC.to_be_bytes(), &HANDSHAKE.to_be_bytes()].concat();
    stream.write_all(&greeting)?;
    let _client_flags: [u8; 4] = array(stream)?;
    loop {
        let header: [u8; 16] = array(stream)?;
        let (option, len) = (be32(&header[8..]), be32(&header[12..]));
        io::copy(&mut (&mut *stream).take(len.into()), &mut io::sink())?;
        if be64(&header) != OPTION_MAGIC {
            return Ok(false);
        }
        let mut reply = |kind: u32, data: &[u8]| {
            let head = [option, kind, data.len() as u32].map(u32::to_be_bytes).concat();
            stream.write_all(&[&REPLY_MAGIC.to_be_bytes(), &*head, data].concat())
        };
        match option {
            OPTION_GO => {
                let export = [&[0, 0], &len_bytes.to_be_bytes()[..], &FLAGS.to_be_bytes()].concat();
                reply(REPLY_INFO, &export)?;
                reply(REPLY_ACK, &[])?;
                return Ok(true);
            }
            OPTION_ABORT => {
                reply(REPLY_ACK, &[])?;
                return Ok(false);
            }
            _ => reply(REPLY_UNSUPPORTED, &[])?,
        }
    }
}

fn array<const N: usize>(stream: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn be16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from(be16(bytes)) << 16 | u32::from(be16(&bytes[2..]))
}

fn be64(bytes: &[u8]) -> u64 {
    u64::from(be32(bytes)) << 32 | u64::from(be32(&bytes[4..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_keeps_what_was_flushed_and_loses_some_of_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::write(&image, vec![b'i'; 100 * BLOCK_BYTES]).unwrap();
        let mut disk = Disk::over(&image, folder.path()).unwrap();
        let all = |byte: u8, blocks: usize| vec![byte; blocks * BLOCK_BYTES];
        {
            let mut blocks = lock(&disk.blocks);
            // From the middle of a block to the middle of another.
            blocks.write(100, &all(b'f', 49), false).unwrap();
            blocks.flush().unwrap();
            blocks.write(0, &all(b'c', 40), false).unwrap();
            blocks.write(60 * BLOCK_BYTES as u64, &all(b't', 1), true).unwrap();
        }
        let (unflushed, lost) = disk.cut(3).unwrap();
        assert!(unflushed == 40 && lost > 0 && lost < 40, "{lost} of {unflushed}");

        let mut held = all(0, 100);
        lock(&disk.blocks).read(0, &mut held).unwrap();
        let kept = held.chunks(BLOCK_BYTES).filter(|block| block.iter().all(|&byte| byte == b'c')).count();
        assert_eq!(kept, 40 - lost);
        assert!(held[40 * BLOCK_BYTES..49 * BLOCK_BYTES + 100].iter().all(|&byte| byte == b'f'));
        assert!(held[49 * BLOCK_BYTES + 100..60 * BLOCK_BYTES].iter().all(|&byte| byte == b'i'));
        assert!(held[60 * BLOCK_BYTES..61 * BLOCK_BYTES].iter().all(|&byte| byte == b't'));

        disk.write_into(&image).unwrap();
        assert!(std::fs::read(&image).unwrap() == held, "the image holds something else");
    }
}
