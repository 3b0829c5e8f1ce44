//! One chart for as long as one likes: through new configurations, and through restarts of the daemon.

use crate::connection::{ClientError, Connection, Waited};
use shm::frame::FrameReader;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a daemon that is gone is left alone before it is looked for again.
const RETRY: Duration = Duration::from_millis(100);

/// Follows one chart.
#[derive(Debug)]
pub struct Follower {
    socket: Option<PathBuf>,
    chart: String,
    /// `None` while the daemon is gone.
    current: Option<(Connection, FrameReader)>,
    /// The latest frame that was told.
    newest: u64,
}

/// What happened to a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// There is a new frame. Between the last one and it, so many were not told.
    Frame {
        /// How many.
        skipped: u64,
    },
    /// The chart begins anew, with frames from 1: the daemon took over a configuration, or was started again.
    Renewed,
    /// The daemon is gone. It is looked for again at each further call.
    Lost,
    /// Nothing, in the time given.
    Nothing,
}

impl Follower {
    /// Follows `chart` of the daemon at `socket`, or at [`crate::default_socket`]. The daemon must be there.
    pub fn new(socket: Option<&Path>, chart: &str) -> Result<Self, ClientError> {
        let connection = Connection::open(socket)?;
        let reader = connection.chart(chart)?;
        let current = Some((connection, reader));
        Ok(Self { socket: socket.map(Path::to_owned), chart: chart.to_owned(), current, newest: 0 })
    }

    /// The daemon and the chart; `None` while it is gone.
    pub fn current(&self) -> Option<(&Connection, &FrameReader)> {
        self.current.as_ref().map(|(connection, reader)| (connection, reader))
    }

    /// Waits for news, at most for `timeout`. Only a daemon that refuses the chart is an error.
    pub fn wait(&mut self, timeout: Duration) -> Result<News, ClientError> {
        let Some((connection, reader)) = &mut self.current else {
            return self.look_again(timeout);
        };
        let latest = reader.latest();
        if latest > self.newest {
            return Ok(self.seen(latest));
        }
        let waited = if reader.is_current() {
            connection.wait(&self.chart, self.newest + 1, timeout)
        } else {
            Ok(Waited::Reconfigured)
        };
        match waited {
            Ok(Waited::Frame(number)) => Ok(self.seen(number)),
            Ok(Waited::TimedOut) => Ok(News::Nothing),
            Ok(Waited::Reconfigured) => match connection.renew().and_then(|()| connection.chart(&self.chart))
            {
                Ok(renewed) => {
                    (*reader, self.newest) = (renewed, 0);
                    Ok(News::Renewed)
                }
                Err(error) => self.lost(error),
            },
            Err(error) => self.lost(error),
        }
    }

    fn seen(&mut self, number: u64) -> News {
        let skipped = if self.newest == 0 { 0 } else { number.saturating_sub(self.newest + 1) };
        self.newest = number;
        News::Frame { skipped }
    }

    fn lost(&mut self, error: ClientError) -> Result<News, ClientError> {
        if let ClientError::Refused(_) = error {
            return Err(error);
        }
        self.current = None;
        Ok(News::Lost)
    }

    fn look_again(&mut self, timeout: Duration) -> Result<News, ClientError> {
        let deadline = Instant::now() + timeout;
        loop {
            std::thread::sleep(RETRY.min(deadline.saturating_duration_since(Instant::now())));
            match Self::new(self.socket.as_deref(), &self.chart) {
                Ok(found) => {
                    *self = found;
                    return Ok(News::Renewed);
                }
                Err(error @ ClientError::Refused(_)) => return Err(error),
                Err(_) if Instant::now() < deadline => {}
                Err(_) => return Ok(News::Nothing),
            }
        }
    }
}
