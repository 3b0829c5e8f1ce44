//! chartd: market data in, chart frames out.
//!
//! The one place with threads, clocks, sockets and privileges. A trade's way through it: [`ingest`] reads the
//! venue's stream, [`engine`] makes candles of it and publishes them in shared memory, [`render`] draws what changed
//! and publishes frames. [`service`] puts the threads together, and watches them; [`control`] hands the memory to
//! readers; [`wishes`] takes what they want the charts to show. [`replay`] and [`demo`] take the same path with recorded
//! and simulated data.

mod ahead;
pub mod config;
pub mod control;
pub mod demo;
mod doorbell;
pub mod engine;
mod fail;
mod feeds;
mod gateway;
pub mod host;
pub mod ingest;
pub mod journal;
mod metadata;
mod packing;
pub mod render;
mod repair;
pub mod replay;
pub mod report;
mod rest;
pub mod rt;
pub mod service;
pub mod sim;
mod supervisor;
mod threads;
mod uring;
pub mod wishes;

/// Prints a line on standard output. If that is closed, as by `head`, nobody wants it: `println` would panic.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

pub use chart_client::now_ns;
pub use uring::RingError;
