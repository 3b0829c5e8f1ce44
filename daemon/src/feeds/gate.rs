//! When connections may be begun: never two at a time to one host, never more than the venue takes.

use market::protocol::Limits;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// The least time between two beginnings to one host.
const STAGGER: Duration = Duration::from_millis(250);

/// The beginnings of connections, by host.
#[derive(Debug, Default)]
pub(super) struct Gates(HashMap<String, VecDeque<Instant>>);

impl Gates {
    /// Takes the next turn at a host: when the connection may be begun.
    pub(super) fn take(&mut self, host: &str, limits: &Limits, now: Instant) -> Instant {
        let window = Duration::from_secs(limits.connects_window_s.into());
        let most = limits.connects.max(1) as usize;
        let begun = self.0.entry(host.to_owned()).or_default();
        while begun.len() > most || begun.front().is_some_and(|first| *first + window.max(STAGGER) < now) {
            begun.pop_front();
        }
        let mut turn = now;
        if let Some(last) = begun.back() {
            turn = turn.max(*last + STAGGER);
        }
        if begun.len() >= most {
            turn = turn.max(begun[begun.len() - most] + window);
        }
        begun.push_back(turn);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(connects: u32, connects_window_s: u32) -> Limits {
        Limits {
            messages_per_second: 5,
            connects,
            connects_window_s,
            symbols_per_connection: 1,
            message_bytes: 0,
            idle_ms: 1_000,
            max_age_s: None,
        }
    }

    #[test]
    fn hosts_do_not_wait_for_each_other() {
        let (mut gates, now) = (Gates::default(), Instant::now());
        for host in ["a", "b"] {
            assert_eq!(gates.take(host, &limits(300, 300), now), now);
            assert_eq!(gates.take(host, &limits(300, 300), now), now + STAGGER);
        }
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_the_limit(
            asked_ms in prop::collection::vec(0u64..3_000, 1..100), connects in 1u32..8, window_s in 1u32..10,
        ) {
            let (mut gates, start) = (Gates::default(), Instant::now());
            let (mut now, mut turns) = (start, Vec::new());
            for pause_ms in asked_ms {
                now += Duration::from_millis(pause_ms);
                let turn = gates.take("a", &limits(connects, window_s), now);
                prop_assert!(turn >= now);
                turns.push(turn);
            }
            prop_assert!(turns.windows(2).all(|pair| pair[1] >= pair[0] + STAGGER));
            let window = Duration::from_secs(window_s.into());
            prop_assert!(turns.windows(connects as usize + 1).all(|run| run[run.len() - 1] - run[0] >= window));
        }
    }
}
