//! Getting what the engine misses: drives [`crate::repair`]'s planner over REST.

use super::Source;
use crate::engine::Want;
use crate::ingest::Remote;
use crate::repair::{Failure, FeedFacts, Key, Planner, What};
use crate::rest::{RestClient, RestFailure};
use anyhow::Context;
use market::InstrumentId;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long to wait when the hot thread has no room for orders.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(10);

type Answer = (Key, What, Result<Vec<u8>, RestFailure>);

/// What is asked for, and of whom.
#[derive(Default)]
pub(super) struct Repairs {
    planner: Planner,
    asking: JoinSet<Answer>,
    /// Set while the hot thread has no room for orders.
    blocked_until: Option<Instant>,
}

impl Repairs {
    pub(super) fn want(&mut self, want: Want, sources: &[&Source], now: Instant) {
        self.planner.want(want, &facts(sources), now);
    }

    /// Gives the orders and makes the requests that are due.
    pub(super) fn go_on(&mut self, sources: &[&Source], remote: &mut Remote, now: Instant) {
        let facts = facts(sources);
        self.blocked_until = None;
        while let Some(order) = self.planner.next_order(&facts, now) {
            if let Some(order) = remote.order(order) {
                self.planner.refused(order);
                self.blocked_until = Some(now + NO_ROOM_PAUSE);
                return;
            }
        }
        while let Some(request) = self.planner.next_request(&facts, now) {
            let Some(client) = sources.get(request.key.0).and_then(|source| source.rest.clone()) else {
                continue; // The planner knows which feeds have none.
            };
            self.asking.spawn(ask(client, request.key, request.what, request.path));
        }
    }

    /// When there is something to do next, if nothing happens before.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.blocked_until.or_else(|| self.planner.next_at())
    }

    /// Waits for an answer, and takes it in. Nothing is lost if the caller stops waiting.
    pub(super) async fn answered(&mut self) -> Option<anyhow::Result<Answered>> {
        let finished = self.asking.join_next().await?;
        Some(finished.map(Answered).context("a request panicked"))
    }

    pub(super) fn take(
        &mut self,
        Answered((key, what, answer)): Answered,
        sources: &[&Source],
        now: Instant,
    ) {
        let answer = answer.as_deref().map_err(|failure| Failure {
            why: failure.to_string(),
            is_refusal: failure.is_refusal(),
            pause: match failure {
                RestFailure::Busy { pause, .. } => *pause,
                _ => Duration::ZERO,
            },
        });
        if let Some(complaint) = self.planner.answer(key, what, answer, &facts(sources), now) {
            tracing::warn!("{complaint}");
        }
    }

    /// Goes on with other feeds. `kept` has, for each of them, the place of the old one.
    pub(super) fn reconfigure(&mut self, old: &[&Source], new: &[&Source], kept: &[Option<usize>]) {
        self.asking = JoinSet::new();
        self.planner.move_to(|(feed, id)| {
            let instrument = old.get(feed)?.instruments.get(usize::from(id.0))?;
            let feed = kept.iter().position(|place| *place == Some(feed))?;
            let place = new.get(feed)?.instruments.iter().position(|other| other == instrument)?;
            Some((feed, InstrumentId(place as u16)))
        });
    }
}

/// An answer that was waited for.
pub(super) struct Answered(Answer);

async fn ask(client: RestClient, key: Key, what: What, path: String) -> Answer {
    (key, what, client.get(&path).await)
}

fn facts<'a>(sources: &[&'a Source]) -> Vec<FeedFacts<'a>> {
    let facts = |source: &&'a Source| FeedFacts {
        protocol: source.venue.protocol(),
        instruments: &source.instruments,
        klines: &source.klines,
        has_rest: source.rest.is_some(),
    };
    sources.iter().map(facts).collect()
}
