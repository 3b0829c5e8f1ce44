//! A ring does what it promises, with each help of the kernel and without any of it.

use super::*;
use std::io::Read;
use std::os::fd::OwnedFd;

fn ring() -> Option<Ring> {
    ring_in(false)
}

fn ring_in(huge_pages: bool) -> Option<Ring> {
    match Ring::new(&RingPlan::ingest(huge_pages)) {
        Ok(ring) => Some(ring),
        Err(RingError::Forbidden(_)) => {
            eprintln!("skipped: no io_uring");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn receive(ring: &mut Ring, socket: &impl AsRawFd, user_data: u64) {
    let entry = opcode::RecvMulti::new(types::Fd(socket.as_raw_fd()), GROUP).build();
    ring.begin_multishot(&entry.user_data(user_data)).unwrap();
}

/// Everything that this kernel, which runs the tests, is known to grant.
#[test]
fn a_ring_gets_all_that_a_kernel_of_today_has() {
    let Some(ring) = ring() else { return };
    let features = ring.features();
    assert!(matches!(features.receives, Some(Receives::Multishot { count: 256, each_bytes: 16_384, .. })));
    assert!(
        features.files.is_ok() && features.ring_fd.is_ok() && features.restrictions.is_ok(),
        "{features:?}"
    );
    assert_eq!(features.lacking(), Vec::<String>::new());
    println!("{features}; NAPI: {:?}", features.napi);
}

#[test]
fn the_kernel_refuses_what_the_thread_does_not_do() {
    let Some(mut ring) = ring() else { return };
    ring.push(&opcode::Nop::new().build().user_data(1)).unwrap();
    assert_eq!(ring.next_done().unwrap().result, -libc::EACCES);
    let refused = ring.submitter.register_files(&[0]).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
    let mut ring = Ring::new(&RingPlan::render()).unwrap();
    let (socket, _other) = UnixStream::pair().unwrap();
    let mut byte = [0u8];
    let entry = opcode::Recv::new(types::Fd(socket.as_raw_fd()), byte.as_mut_ptr(), 1).build();
    ring.push(&entry.user_data(1)).unwrap();
    assert_eq!(ring.next_done().unwrap().result, -libc::EACCES, "a thread that draws receives nothing");
}

/// Buffers that run out end the receive; given back, they serve again. No byte is lost on the way.
#[test]
fn buffers_that_run_out_are_told_and_come_back() {
    let Some(mut ring) = ring() else { return };
    let (socket, mut other) = UnixStream::pair().unwrap();
    socket.set_nonblocking(false).unwrap();
    other.set_nonblocking(true).unwrap();
    receive(&mut ring, &socket, 5);
    let (mut sent, mut came, mut none_left) = (0usize, 0usize, 0);
    let mut done = [Done::default(); 64];
    while came < 20 << 20 {
        // Fill whatever the kernel takes: pieces, so that each takes a buffer.
        while sent < 20 << 20 && other.write(&[(sent / 1000) as u8; 1000]).is_ok_and(|len| len == 1000) {
            sent += 1000;
            ring.enter(Duration::ZERO).unwrap();
        }
        ring.enter(Duration::from_millis(10)).unwrap();
        let count = ring.take(&mut done);
        for one in &done[..count] {
            assert_eq!(one.user_data, 5);
            if let Some(id) = one.buffer() {
                for (at, byte) in ring.bytes(id, one.result as usize).iter().enumerate() {
                    assert_eq!(*byte, ((came + at) / 1000) as u8, "byte {}", came + at);
                }
                came += one.result as usize;
                ring.give_back(id);
            }
            if !one.goes_on() {
                assert!(one.result == -libc::ENOBUFS || one.result > 0, "{one:?}");
                none_left += usize::from(one.result == -libc::ENOBUFS);
                ring.multishot_ended();
                receive(&mut ring, &socket, 5);
            }
        }
        if sent >= 20 << 20 && came >= sent {
            break;
        }
    }
    assert_eq!(came, sent);
    assert!(none_left > 0, "the buffers never ran out, so nothing was tested");
}

#[test]
fn an_installed_file_stays_open_until_it_is_uninstalled() {
    let Some(mut ring) = ring() else { return };
    let (socket, mut other) = UnixStream::pair().unwrap();
    other.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(ring.install(3, socket.as_raw_fd(), 9).unwrap());
    let done = ring.next_done().unwrap();
    assert_eq!((done.user_data, done.result), (9, 1));
    drop(OwnedFd::from(socket));
    assert!(other.read(&mut [0]).is_err(), "the ring has it open");
    ring.uninstall(3).unwrap();
    ring.enter(Duration::ZERO).unwrap();
    assert_eq!(other.read(&mut [0]).unwrap(), 0, "now it is closed");
    assert!(!ring.install(1 << 20, 0, 9).unwrap(), "there is no such place");
}

/// A thread that makes one ring after the other does not run out of the 16 numbers that it has for them.
#[test]
fn a_ring_that_ends_gives_its_number_back() {
    if ring().is_none() {
        return;
    }
    for _ in 0..40 {
        let ring = Ring::new(&RingPlan::render()).unwrap();
        assert!(ring.features().ring_fd.is_ok(), "{:?}", ring.features());
    }
}

/// 2 MiB pages are used where there are any, and missed in words where not.
#[test]
fn buffers_lie_in_large_pages_or_say_that_they_do_not() {
    let Some(ring) = ring_in(true) else { return };
    let Some(Receives::Multishot { is_huge, .. }) = ring.features().receives else { panic!("no buffers") };
    println!("{}", ring.features());
    assert_eq!(ring.features().lacking().is_empty(), is_huge);
}

/// The thread that writes the journal needs no sockets, and those that read them no files.
#[test]
fn a_ring_that_writes_files_does_nothing_else() {
    if ring().is_none() {
        return;
    }
    let mut ring = Ring::new(&RingPlan::journal(4, 4096, false)).unwrap();
    assert_eq!(ring.features().lacking(), Vec::<String>::new());
    assert!(
        ring.features().to_string().contains("4 blocks of 4 KiB in 4 KiB pages, registered"),
        "{}",
        ring.features()
    );
    let (socket, _other) = UnixStream::pair().unwrap();
    let mut byte = [0u8];
    let entry = opcode::Recv::new(types::Fd(socket.as_raw_fd()), byte.as_mut_ptr(), 1).build();
    ring.push(&entry.user_data(1)).unwrap();
    assert_eq!(ring.next_done().unwrap().result, -libc::EACCES);
    assert_eq!(ring.memory().len(), 4 * 4096);
    assert_eq!(ring.memory().as_ptr().align_offset(4096), 0, "O_DIRECT needs it so");
}
