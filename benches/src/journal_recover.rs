//! How fast a journal is read and proven, record by record, beside reading its files from end to end with their CRC32C
//! only; and how long a start takes to find where it ended.
//!
//! Both read the same files in the same state: in the page cache, or thrown out of it just before.

use crate::harness::{Arm, Ratio, Report};
use crate::journal_write::ours;
use anyhow::{Context, ensure};
use journal::{Folder, Item, Reader, Span, recover};
use std::fs::File;
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a record of a frame of 256 bytes takes.
const RECORD_BYTES: u64 = 288;
/// So much is read at once by the reference: a block.
const READ_BYTES: usize = 256 << 10;
const STATES: [&str; 2] = ["in the page cache", "not in the page cache"];

pub(crate) fn measure(rounds: usize, folder: &Path, mib: u64) -> anyhow::Result<Report> {
    let folder = tempfile::tempdir_in(folder).context("no folder to write to: name one with --folder")?;
    let path = folder.path().join("journal");
    let frames = (mib << 20) / RECORD_BYTES;
    // Several segments, the last of them not full.
    ours::write(&path, "async", frames, (mib / 3).max(1))?;
    let files = files(&path)?;
    let bytes: u64 = files.iter().map(|file| file.metadata().map_or(0, |about| about.len())).sum();
    let mut read = ["Reader, cached", "Reader, from disk"].map(|name| Arm::new(name, "KiB/s"));
    let mut plain = ["CRC32C, cached", "CRC32C, from disk"].map(|name| Arm::new(name, "KiB/s"));
    let mut records = Arm::new("Reader, cached, records", "1/s");
    let (mut closed, mut torn) = (Arm::new("recover, closed", "ns"), Arm::new("recover, torn", "ns"));
    for _ in 0..rounds {
        for (place, state) in STATES.into_iter().enumerate() {
            let prepare = || if place == 0 { warm(&files) } else { throw_out(&files) };
            prepare().with_context(|| format!("the files cannot be had {state}"))?;
            plain[place].add_round([rate(bytes, checksum(&files)?)]);
            prepare()?;
            let (taken, count) = read_all(&path)?;
            ensure!(count > frames, "{count} records were read of {frames} frames");
            read[place].add_round([rate(bytes, taken)]);
            if place == 0 {
                records.add_round([(count as f64 / taken.as_secs_f64()) as u64]);
            }
        }
        closed.add_round([recovering(&path)?]);
    }
    for _ in 0..rounds {
        tear(&path)?;
        torn.add_round([recovering(&path)?]);
    }
    let ratios = vec![
        Ratio::shown("Reader / CRC32C alone, cached", &read[0], &plain[0], 0.5),
        Ratio::shown("Reader / CRC32C alone, from disk", &read[1], &plain[1], 0.5),
    ];
    let [cached, from_disk] = read;
    let arms = [cached, from_disk, records].into_iter().chain(plain).chain([closed, torn]);
    Ok(Report {
        name: "journal-recover",
        notes: vec![
            format!(
                "{frames} frames of 256 bytes in {} segments, {bytes} bytes, not packed; one thread",
                files.len()
            ),
            format!("CRC32C alone: reads of {} KiB", READ_BYTES >> 10),
            "recover: at a start, in the page cache; torn: the last block is broken".into(),
        ],
        arms: arms.collect(),
        ratios,
    })
}

fn rate(bytes: u64, taken: Duration) -> u64 {
    (bytes as f64 / 1024.0 / taken.as_secs_f64()) as u64
}

/// The plain segments, in order.
fn paths(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "seg"));
    paths.sort();
    Ok(paths)
}

fn files(folder: &Path) -> anyhow::Result<Vec<File>> {
    Ok(paths(folder)?.into_iter().map(File::open).collect::<Result<_, _>>()?)
}

fn warm(files: &[File]) -> anyhow::Result<()> {
    checksum(files).map(drop)
}

/// What is not written back stays in the cache, so it is written back first.
fn throw_out(files: &[File]) -> anyhow::Result<()> {
    for file in files {
        file.sync_all()?;
        // SAFETY: a call with numbers only.
        let refused = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        ensure!(refused == 0, "posix_fadvise: error {refused}");
    }
    Ok(())
}

fn checksum(files: &[File]) -> anyhow::Result<Duration> {
    let mut buffer = vec![0; READ_BYTES];
    let started = Instant::now();
    for file in files {
        let mut offset = 0;
        loop {
            let len = file.read_at(&mut buffer, offset)?;
            if len == 0 {
                break;
            }
            black_box(crc32c::crc32c(&buffer[..len]));
            offset += len as u64;
        }
    }
    Ok(started.elapsed())
}

fn read_all(folder: &Path) -> anyhow::Result<(Duration, u64)> {
    let (store, mut records) = (Folder::new(folder), 0);
    let started = Instant::now();
    let mut reader = Reader::new(&store, Span::ALL)?;
    while let Some(item) = reader.next()? {
        match item {
            Item::Record(record) => records += u64::from(!black_box(record.payload).is_empty()),
            Item::Missing(missing) => anyhow::bail!("something is missing: {missing:?}"),
        }
    }
    Ok((started.elapsed(), records))
}

fn recovering(folder: &Path) -> anyhow::Result<u64> {
    let store = Folder::new(folder);
    let started = Instant::now();
    let recovered = recover(&store)?;
    let taken = started.elapsed().as_nanos() as u64;
    ensure!(recovered.position.next > 0, "nothing was found");
    Ok(taken)
}

/// Breaks the last block.
fn tear(folder: &Path) -> anyhow::Result<()> {
    let last = paths(folder)?.pop().context("there is no segment")?;
    let file = File::options().read(true).write(true).open(last)?;
    let mut byte = [0];
    let at = file.metadata()?.len().checked_sub(1).context("the last segment is empty")?;
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[!byte[0]], at)?;
    Ok(())
}
