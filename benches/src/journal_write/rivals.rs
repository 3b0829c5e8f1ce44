//! What else one would keep frames in: a file that is appended to, and SQLite.

use super::FRAME_BYTES;
use rusqlite::Connection;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// How many frames are flushed, or make a transaction: as many as the journal flushes at once at most.
const GROUP: u64 = (1 << 20) / 288;

/// Appends frames behind a header of 32 bytes through a buffer, with an fdatasync after each group.
pub(super) fn append(path: &Path, frames: u64) -> anyhow::Result<Duration> {
    let file = File::create(path)?;
    let mut buffer = BufWriter::with_capacity(256 << 10, file);
    let frame = [b'x'; FRAME_BYTES];
    let started = Instant::now();
    for number in 0..frames {
        let mut head = [0; 32];
        head[..8].copy_from_slice(&number.to_le_bytes());
        buffer.write_all(&head)?;
        buffer.write_all(&frame)?;
        if number % GROUP == GROUP - 1 {
            buffer.flush()?;
            buffer.get_ref().sync_data()?;
        }
    }
    buffer.flush()?;
    buffer.get_ref().sync_data()?;
    let taken = started.elapsed();
    std::fs::remove_file(path)?;
    Ok(taken)
}

/// Inserts frames into a new database in WAL mode, a group in each transaction.
pub(super) fn sqlite(path: &Path, frames: u64, synchronous: &str) -> anyhow::Result<Duration> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.execute(
        "CREATE TABLE frame (sequence INTEGER PRIMARY KEY, real_ns INTEGER, mono_ns INTEGER, line INTEGER, payload BLOB)",
        (),
    )?;
    let frame = [b'x'; FRAME_BYTES];
    let started = Instant::now();
    for first in (0..frames).step_by(GROUP as usize) {
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare("INSERT INTO frame VALUES (?, ?, ?, ?, ?)")?;
            for number in first..(first + GROUP).min(frames) {
                let number = number as i64;
                insert.execute((number, number, number, 0, &frame[..]))?;
            }
        }
        transaction.commit()?;
    }
    let taken = started.elapsed();
    drop(connection);
    for ending in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(ending);
        let _ = std::fs::remove_file(file); // Closing may have removed it.
    }
    Ok(taken)
}
