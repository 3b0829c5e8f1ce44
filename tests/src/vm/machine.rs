//! A virtual machine: QEMU, its disk, and the line to the agent in the guest.
//!
//! QEMU ends when the guest resets, and is started again: so a restart is the same whether the guest, a watchdog or
//! a panic asked for it. Nothing of the machine is left when the test ends.

use super::capture::Capture;
use super::disk::Disk;
use super::image;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a start may take. On a busy machine it takes several times what it takes on an idle one.
const BOOT_LIMIT: Duration = Duration::from_secs(420);
/// How long a line of shell may take.
const LINE_LIMIT: Duration = Duration::from_secs(240);
/// How much of the console a failing test shows.
const TAIL_LINES: usize = 40;

/// What a line of shell did in the guest.
#[derive(Debug)]
pub struct Output {
    /// Its exit status, as the shell has it.
    pub status: i32,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error, as text.
    pub stderr: String,
}

impl Output {
    /// Whether the status is 0.
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// A machine with four CPUs in two sockets, each a memory node of its own, a disk to start from, an NVMe disk of
/// zeroes and a network card of four queues.
pub struct Machine {
    name: String,
    qemu: Child,
    disk: Disk,
    listener: UnixListener,
    agent: Option<BufReader<UnixStream>>,
    last_request: u64,
    console: PathBuf,
    folder: TempDir,
}

impl Machine {
    /// Starts a machine from the image, and waits until it is up. None, and a line that says why, where there can be
    /// none. The name is the scenario's: the console is kept in a file of that name.
    pub fn start(name: &str) -> Option<Self> {
        let image = image::base()?;
        let mut machine = Self::over(name, &image);
        machine.wait_for_boot();
        Some(machine)
    }

    /// Starts a machine over an image.
    pub(super) fn over(name: &str, image: &Path) -> Self {
        let kept = image::folder();
        // The path of a socket must be short.
        let folder = tempfile::tempdir().unwrap();
        let console = kept.join(format!("console-{name}.log"));
        File::create(&console).unwrap();
        let listener = UnixListener::bind(folder.path().join("agent")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut disk = Disk::over(image, folder.path()).unwrap();
        let qemu = start_qemu(&mut disk, folder.path(), &console);
        let name = name.to_owned();
        Self { name, qemu, disk, listener, agent: None, last_request: 0, console, folder }
    }

    /// Runs a line of shell as root, with nothing on its standard input.
    #[track_caller]
    pub fn shell(&mut self, line: &str) -> Output {
        self.shell_with(line, &[])
    }

    /// Runs a line of shell that reads `input`.
    #[track_caller]
    pub fn shell_with(&mut self, line: &str, input: &[u8]) -> Output {
        self.begin_with(line, input);
        self.answer(line)
    }

    /// Runs a line that must succeed, and returns what it printed.
    #[track_caller]
    pub fn must(&mut self, line: &str) -> String {
        let output = self.shell(line);
        assert!(output.success(), "{line}: {}: {}{}", output.status, output.text(), output.stderr);
        output.text()
    }

    /// Begins a line and does not wait for it: the machine restarts, or its power is cut, before it answers.
    pub fn begin(&mut self, line: &str) {
        self.begin_with(line, &[]);
    }

    fn begin_with(&mut self, line: &str, input: &[u8]) {
        self.last_request += 1;
        let head = format!("request {} {} {}\n", self.last_request, line.len(), input.len());
        let agent = self.agent.as_mut().expect("the machine is up").get_mut();
        agent.write_all(&[head.as_bytes(), line.as_bytes(), input].concat()).unwrap();
    }

    #[track_caller]
    fn answer(&mut self, line: &str) -> Output {
        self.read_answer().unwrap_or_else(|error| panic!("{line}: no answer: {error}"))
    }

    fn read_answer(&mut self) -> io::Result<Output> {
        let agent = self.agent.as_mut().expect("the machine is up");
        agent.get_ref().set_read_timeout(Some(LINE_LIMIT))?;
        let mut head = String::new();
        if agent.read_line(&mut head)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let numbers = head.strip_prefix("answer ").map(|rest| rest.split_whitespace().map(str::parse));
        let numbers: Option<Vec<i64>> = numbers.and_then(|numbers| numbers.collect::<Result<_, _>>().ok());
        let Some([answered, status, out_bytes, err_bytes]) = numbers.as_deref() else {
            return Err(io::Error::other(format!("not an answer: {head:?}; did it restart?")));
        };
        assert_eq!(*answered, self.last_request as i64, "the answer to another line");
        let (mut stdout, mut stderr) = (vec![0; *out_bytes as usize], vec![0; *err_bytes as usize]);
        agent.read_exact(&mut stdout)?;
        agent.read_exact(&mut stderr)?;
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        Ok(Output { status: *status as i32, stdout, stderr })
    }

    /// Copies a file into the guest, with its mode.
    #[track_caller]
    pub fn put(&mut self, file: &Path, path: &str) {
        let mode = fs::metadata(file).unwrap().permissions().mode() & 0o7777;
        self.write(path, &fs::read(file).unwrap(), mode);
    }

    /// Writes a file in the guest.
    #[track_caller]
    pub fn write(&mut self, path: &str, bytes: &[u8], mode: u32) {
        let output = self.shell_with(&format!("cat >{path} && chmod {mode:o} {path}"), bytes);
        assert!(output.success(), "{path}: {}", output.stderr);
    }

    /// A file of the guest.
    #[track_caller]
    pub fn read(&mut self, path: &str) -> Vec<u8> {
        let output = self.shell(&format!("cat {path}"));
        assert!(output.success(), "{path}: {}", output.stderr);
        output.stdout
    }

    /// A file of the guest, as text without the end of its last line.
    #[track_caller]
    pub fn text(&mut self, path: &str) -> String {
        String::from_utf8_lossy(&self.read(path)).trim_end().to_owned()
    }

    /// Restarts it the orderly way, and waits until it is up again.
    #[track_caller]
    pub fn reboot(&mut self) {
        self.begin("systemctl --no-block reboot");
        self.wait_for_boot();
    }

    /// Cuts the power, and lets chance keep or lose each block that the disk had not been told to flush. Starts it
    /// again, and waits until it is up.
    #[track_caller]
    pub fn cut_power(&mut self, seed: u64) {
        self.stop();
        let (unflushed, lost) = self.disk.cut(seed).unwrap();
        println!("vm: {}: power cut: {lost} of {unflushed} blocks that were not flushed are lost", self.name);
        self.start_again();
        self.wait_for_boot();
    }

    /// Waits until the machine is up after a start that it makes by itself or that has been asked for, however often it
    /// starts on the way.
    #[track_caller]
    pub fn wait_for_boot(&mut self) {
        let started = Instant::now();
        let mut starts = 1;
        let state = loop {
            if self.is_greeted(started)
                && let Some(state) = self.boot_state()
            {
                break state;
            }
            self.agent = None;
            let status = self.qemu.wait().unwrap();
            assert!(status.success(), "QEMU ended: {status}");
            self.start_again();
            starts += 1;
        };
        let seconds = started.elapsed().as_secs_f32();
        println!("vm: {}: {} after {seconds:.0} s (QEMU started {starts} times)", self.name, state.trim());
    }

    /// What systemd calls the machine once the boot is over: before that, it may still load modules. None where it
    /// restarts instead.
    fn boot_state(&mut self) -> Option<String> {
        self.begin("systemctl is-system-running --wait; udevadm settle");
        let state = match self.read_answer() {
            Ok(output) => output.text(),
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                return None;
            }
            Err(error) => panic!("the machine is up, and does not answer: {error}"),
        };
        (state.trim() != "stopping").then_some(state)
    }

    /// Waits for the agent's greeting. False where QEMU ends first.
    fn is_greeted(&mut self, started: Instant) -> bool {
        let left = || {
            let left = BOOT_LIMIT.saturating_sub(started.elapsed());
            assert!(!left.is_zero(), "the machine was not up within {BOOT_LIMIT:?}");
            left
        };
        while self.agent.is_none() {
            match self.listener.accept() {
                Ok((stream, _)) => self.agent = Some(BufReader::new(stream)),
                Err(error) if error.kind() == ErrorKind::WouldBlock && is_running(&mut self.qemu) => {
                    left();
                    thread::sleep(Duration::from_millis(20));
                }
                Err(_) => return false,
            }
        }
        let Some(agent) = self.agent.as_mut() else { return false };
        loop {
            agent.get_ref().set_nonblocking(false).unwrap();
            agent.get_ref().set_read_timeout(Some(left())).unwrap();
            let mut bytes = Vec::new();
            match agent.read_until(b'\n', &mut bytes) {
                Ok(0) => return false,
                Ok(_) if bytes.starts_with(b"hello ") => return true,
                // The end of an answer from before.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return false,
                Err(error) => panic!("the machine was not up within {BOOT_LIMIT:?}: {error}"),
            }
        }
    }

    fn start_again(&mut self) {
        self.agent = None;
        self.qemu = start_qemu(&mut self.disk, self.folder.path(), &self.console);
    }

    /// Stops it at once, as a power cut does.
    fn stop(&mut self) {
        self.agent = None;
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }

    /// Shuts it down, and writes its disk into the image.
    pub(super) fn finish_into(mut self, image: &Path) {
        self.begin("systemctl --no-block reboot");
        self.agent = None;
        assert!(self.qemu.wait().unwrap().success(), "QEMU failed");
        self.disk.write_into(image).unwrap();
    }

    /// The state of the machine, to be compared with that of another time. `super::capture` says what is in it.
    #[track_caller]
    pub fn capture(&mut self) -> Capture {
        let started = Instant::now();
        self.put(&crate::bin("vm-capture"), "/dev/shm/vm-capture");
        let printed = self.must("/dev/shm/vm-capture; status=$?; rm /dev/shm/vm-capture; exit $status");
        let capture = Capture::parse(&printed);
        let seconds = started.elapsed().as_secs_f32();
        println!("vm: {}: captured {} files within {seconds:.0} s", self.name, capture.len());
        capture
    }

    /// What the machine has written to its console since it was made.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap()).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop();
        if thread::panicking() {
            let console = self.console();
            let lines: Vec<_> = console.lines().collect();
            println!("the end of {}:", self.console.display());
            for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
                println!("{line}");
            }
        }
    }
}

fn is_running(qemu: &mut Child) -> bool {
    qemu.try_wait().is_ok_and(|ended| ended.is_none())
}

fn start_qemu(disk: &mut Disk, folder: &Path, console: &Path) -> Child {
    let socket = disk.serve().unwrap();
    let with = |before: &str, path: &Path, after: &str| {
        let mut argument = OsString::from(before);
        argument.push(path);
        argument.push(after);
        argument
    };
    let disk = with("driver=nbd,node-name=disk,server.type=unix,server.path=", &socket, "");
    let console = with("file,id=console,append=on,path=", console, "");
    let agent = with("socket,id=agent,path=", &folder.join("agent"), "");
    // The network card's other end is in a network of its own. QEMU ends with the test, even if that is killed.
    let mut command = Command::new("unshare");
    command.args(["--net", "setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"]);
    command.args("-no-user-config -nodefaults -display none -action reboot=shutdown".split(' '));
    command.args(
        "-machine q35,smbus=off,sata=off -accel tcg,thread=multi -cpu max,la57=off,svm=off,xlevel=0x80000008"
            .split(' '),
    );
    command.args("-smp 4,sockets=2,cores=2 -m 1280".split(' '));
    for node in 0..2 {
        command.args(["-object", &format!("memory-backend-ram,id=memory{node},size=640M"), "-numa"]);
        command.arg(format!("node,cpus={}-{},memdev=memory{node}", 2 * node, 2 * node + 1));
    }
    command.args(["-netdev", "tap,id=lan,queues=4,script=no,downscript=no"]);
    command.args(["-device", "virtio-net-pci,netdev=lan,mq=on,vectors=10,romfile="]);
    command.arg("-chardev").arg(console).args(["-serial", "chardev:console"]);
    command.arg("-chardev").arg(agent);
    command.args("-device virtio-serial-pci -device virtserialport,chardev=agent,name=agent".split(' '));
    command.args("-blockdev driver=null-co,read-zeroes=on,size=1073741824,node-name=scratch".split(' '));
    command.args(["-device", "nvme,drive=scratch,serial=scratch,max_ioqpairs=4"]);
    // QEMU's NVMe disk forgets which writes are to go through its cache, so a journal on it would not outlive a power
    // cut. Of this one, the guest knows that it has to flush.
    command.arg("-blockdev").arg(disk).args(["-device", "virtio-blk-pci,drive=disk,bootindex=0"]);
    command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
}
