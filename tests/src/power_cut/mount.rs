//! The file system as the kernel asks for it: each request goes to the [`Disk`], behind one lock.
//!
//! Some writes are answered late, so that a flush can begin while they are on their way; then it does not cover them.
//! Flushes take their time as well, and what they cover is durable when they end: so a cut finds them half done.
//! A write with RWF_DSYNC or O_DSYNC comes with that flag, and some kernels send an fsync after it as well: both are
//! honoured.

use super::disk::{CAPACITY_BYTES, Dice, Disk, Errno, Flushing};
use fuser::{
    FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use std::ffi::OsStr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nothing is remembered by the kernel: after a cut everything must fail.
const FORGOTTEN_AT_ONCE: Duration = Duration::ZERO;
/// Block and preferred size that programs are told.
const BLOCK_BYTES: u32 = 4096;

/// What the kernel talks to.
pub(super) struct Mount {
    disk: Arc<Mutex<Disk>>,
    dice: Mutex<Dice>,
    late: Sender<Late>,
}

/// What is answered when its time has come.
struct Late {
    due: Instant,
    answer: Answer,
}

enum Answer {
    Write(Write),
    Flush(Flushing, ReplyEmpty),
}

struct Write {
    file: u64,
    id: u64,
    len: u32,
    through: bool,
    reply: ReplyWrite,
}

impl Mount {
    pub(super) fn new(disk: Arc<Mutex<Disk>>, seed: u64) -> Self {
        let (late, waiting) = channel();
        let to = disk.clone();
        std::thread::spawn(move || answer_late(&to, &waiting));
        Self { disk, dice: Mutex::new(Dice::new(seed)), late }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        locked(&self.disk)
    }

    fn attributes(&self, node: INodeNo) -> Result<FileAttr, Errno> {
        let disk = self.disk();
        disk.check()?;
        match node {
            INodeNo::ROOT => Ok(attributes(node, 0, FileType::Directory, 0o777)),
            INodeNo(number) => Ok(attributes(node, disk.len(file(number))?, FileType::RegularFile, 0o666)),
        }
    }

    fn entry(&self, name: &OsStr) -> Result<FileAttr, Errno> {
        let file = self.disk().find(name)?;
        self.attributes(node(file))
    }

    /// Answers, sooner or later: so many of 100 by up to `most_us` later.
    fn answer(&self, answer: Answer, percent: u64, most_us: u64) {
        let delay = {
            let mut dice = locked(&self.dice);
            dice.percent(percent).then(|| Duration::from_micros(dice.below(most_us)))
        };
        let Some(delay) = delay else { return finish(&self.disk, answer) };
        if let Err(unsent) = self.late.send(Late { due: Instant::now() + delay, answer }) {
            finish(&self.disk, unsent.0.answer);
        }
    }

    fn flushing(&self, begun: Result<Flushing, Errno>, reply: ReplyEmpty) {
        match begun {
            Ok(flush) => self.answer(Answer::Flush(flush, reply), 60, 12_000),
            Err(error) => reply.error(errno(error)),
        }
    }
}

/// The root is node 1, files follow.
fn node(file: u64) -> INodeNo {
    INodeNo(file + 1)
}

fn file(node: u64) -> u64 {
    node - 1
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn errno(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno)
}

fn attributes(ino: INodeNo, size: u64, kind: FileType, perm: u16) -> FileAttr {
    let [atime, mtime, ctime, crtime] = [UNIX_EPOCH; 4];
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    let blocks = size.div_ceil(512);
    let (nlink, rdev, blksize, flags) = (1, 0, BLOCK_BYTES, 0);
    FileAttr {
        ino,
        size,
        blocks,
        atime,
        mtime,
        ctime,
        crtime,
        kind,
        perm,
        nlink,
        uid,
        gid,
        rdev,
        blksize,
        flags,
    }
}

fn empty(outcome: Result<(), Errno>, reply: ReplyEmpty) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(error)),
    }
}

fn finish(disk: &Mutex<Disk>, answer: Answer) {
    let write = match answer {
        Answer::Write(write) => write,
        Answer::Flush(flush, reply) => {
            let outcome = locked(disk).end_flush(&flush);
            return empty(outcome, reply);
        }
    };
    let outcome = locked(disk).answer(write.file, write.id, write.through);
    match outcome {
        Ok(()) => write.reply.written(write.len),
        Err(error) => write.reply.error(errno(error)),
    }
}

/// Until the mount is gone, and all was answered.
fn answer_late(disk: &Mutex<Disk>, waiting: &Receiver<Late>) {
    let mut held: Vec<Late> = Vec::new();
    loop {
        let due = held.iter().map(|late| late.due).min();
        let next = match due {
            Some(due) => waiting.recv_timeout(due.saturating_duration_since(Instant::now())).ok(),
            None => match waiting.recv() {
                Ok(late) => Some(late),
                Err(_) => return,
            },
        };
        held.extend(next);
        let now = Instant::now();
        let (ready, rest) = held.into_iter().partition(|late| late.due <= now);
        held = rest;
        Vec::into_iter(ready).for_each(|late: Late| finish(disk, late.answer));
    }
}

impl Filesystem for Mount {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // Without it a write with O_DIRECT would hold the file until it is answered, and no flush could overtake it.
        let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO); // What the kernel lacks is done without.
        Ok(())
    }

    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.entry(name) {
            Ok(attributes) => reply.entry(&FORGOTTEN_AT_ONCE, &attributes, Generation(0)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino) {
            Ok(attributes) => reply.attr(&FORGOTTEN_AT_ONCE, &attributes),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = size.map_or(Ok(()), |size| self.disk().set_len(file(ino.0), size));
        match set.and_then(|()| self.attributes(ino)) {
            Ok(attributes) => reply.attr(&FORGOTTEN_AT_ONCE, &attributes),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn unlink(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.disk().unlink(name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        _: INodeNo,
        name: &OsStr,
        _: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.contains(RenameFlags::RENAME_EXCHANGE) {
            return reply.error(errno(libc::EINVAL));
        }
        let replaces = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        empty(self.disk().rename(name, newname, replaces), reply);
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.disk().open(file(ino.0)) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn create(&self, _: &Request, _: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let created = {
            let mut disk = self.disk();
            disk.create(name).and_then(|file| disk.open(file).map(|()| file))
        };
        let created = created.and_then(|file| self.attributes(node(file)));
        match created {
            Ok(attributes) => {
                let (handle, flags) = (FileHandle(0), FopenFlags::empty());
                reply.created(&FORGOTTEN_AT_ONCE, &attributes, Generation(0), handle, flags);
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.disk().read(file(ino.0), offset, size as usize) {
            Ok(bytes) => reply.data(bytes),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (file, through) = (file(ino.0), flags.0 & libc::O_DSYNC != 0);
        let begun = self.disk().write(file, offset, data);
        let write = match begun {
            Ok(id) => Write { file, id, len: data.len() as u32, through, reply },
            Err(error) => return reply.error(errno(error)),
        };
        self.answer(Answer::Write(write), 20, 3_000);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        empty(self.disk().check(), reply); // A close flushes nothing.
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.disk().release(file(ino.0));
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, datasync: bool, reply: ReplyEmpty) {
        let begun = self.disk().begin_flush(file(ino.0), datasync);
        self.flushing(begun, reply);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let begun = self.disk().begin_flush_of_names();
        self.flushing(begun, reply);
    }

    fn readdir(&self, _: &Request, _: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let disk = self.disk();
        if let Err(error) = disk.check() {
            return reply.error(errno(error));
        }
        let dots = [".", ".."].map(|name| (INodeNo::ROOT, FileType::Directory, OsStr::new(name)));
        let files = disk.names().map(|(name, file)| (node(file), FileType::RegularFile, name));
        for (place, (ino, kind, name)) in dots.into_iter().chain(files).enumerate().skip(offset as usize) {
            if reply.add(ino, place as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let disk = self.disk();
        let (size, block) = (CAPACITY_BYTES, u64::from(BLOCK_BYTES));
        let free = (size - disk.used_bytes().min(size)) / block;
        reply.statfs(size / block, free, free, 1 << 20, 1 << 20, BLOCK_BYTES, 255, BLOCK_BYTES);
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        empty(allocate(&mut self.disk(), file(ino.0), offset, length, mode), reply);
    }
}

/// What is set aside or zeroed. Space that no file ends in needs none.
fn allocate(disk: &mut Disk, file: u64, offset: u64, len: u64, mode: i32) -> Result<(), Errno> {
    let (keeps_len, zeroes) = (mode & libc::FALLOC_FL_KEEP_SIZE != 0, mode & !libc::FALLOC_FL_KEEP_SIZE);
    let (end, before) = (offset.saturating_add(len), disk.len(file)?);
    if zeroes != 0 {
        if zeroes != libc::FALLOC_FL_PUNCH_HOLE && zeroes != libc::FALLOC_FL_ZERO_RANGE {
            return Err(libc::EOPNOTSUPP);
        }
        let zeros = vec![0; end.min(before).saturating_sub(offset) as usize];
        let id = disk.write(file, offset, &zeros)?;
        disk.answer(file, id, false)?;
    }
    if !keeps_len && end > before { disk.set_len(file, end) } else { Ok(()) }
}
