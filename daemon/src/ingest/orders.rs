//! What the hot thread does for the cold side, and what it asks of it.
//!
//! Orders come through a bounded queue, and their memory goes back through another: this thread frees nothing. What
//! the engine wants is passed on as long as there is room; what finds none waits in the engine.

use super::hot::HotLoop;
use super::{CloseReason, Event, Order};
use crate::engine::Input;

impl HotLoop {
    /// Obeys every order that waits.
    pub(super) fn obey_all(&mut self, receive_ns: u64) -> std::io::Result<()> {
        while let Ok(order) = self.intake.local.orders.pop() {
            self.obey(order, receive_ns)?;
        }
        Ok(())
    }

    fn obey(&mut self, order: Order, receive_ns: u64) -> std::io::Result<()> {
        let input = match &order {
            Order::Book { feed, instrument, snapshot } => {
                Some(Input::Book { feed: *feed, instrument: *instrument, snapshot })
            }
            Order::Trades { feed, instrument, missing, trades, is_final } => Some(Input::Trades {
                feed: *feed,
                instrument: *instrument,
                missing,
                trades,
                is_final: *is_final,
            }),
            Order::Day { feed, midnight_ms } => Some(Input::Day { feed: *feed, midnight_ms: *midnight_ms }),
            Order::Adopt(_) | Order::Say { .. } | Order::End { .. } => None,
        };
        if let Some(input) = input {
            self.intake.engine.take(&input, receive_ns);
        }
        match &order {
            Order::Say { feed, line, text } => self.say(*feed, *line, text)?,
            Order::End { feed, line } => self.end(*feed, *line)?,
            _ => {}
        }
        match order {
            Order::Adopt(link) => self.adopt(link, receive_ns)?,
            spent => self.intake.local.give_back(spent),
        }
        Ok(())
    }

    /// Has a message sent on one line of a feed, or on each of them. A server that leaves too much unread is left.
    fn say(&mut self, feed: usize, line: Option<usize>, text: &str) -> std::io::Result<()> {
        for place in 0..self.intake.places() {
            let Some(link) = self.intake.link(place) else { continue };
            let is_meant = link.feed == feed && line.is_none_or(|line| line == link.line);
            if !is_meant || link.is_closed() {
                continue;
            }
            if let Err(full) = link.say(text) {
                self.intake.close(place, full.into());
            }
            self.go_on_sending(place)?;
        }
        Ok(())
    }

    /// Ends a line whose successor is there. One that has ended by itself was reported already.
    fn end(&mut self, feed: usize, line: usize) -> std::io::Result<()> {
        for place in 0..self.intake.places() {
            let Some(link) = self.intake.link(place) else { continue };
            if link.feed == feed && link.line == line && !link.is_closed() {
                self.intake.close(place, CloseReason::Ended);
                self.go_on_sending(place)?;
            }
        }
        Ok(())
    }

    /// Passes on what the engine wants.
    pub(super) fn ask(&mut self) -> std::io::Result<()> {
        let (intake, mut is_asked) = (&mut self.intake, false);
        while !intake.local.events.is_full()
            && let Some(want) = intake.engine.next_want()
        {
            is_asked |= intake.local.events.push(Event::Want(want)).is_ok();
        }
        if is_asked { intake.local.ring_on(&mut self.ring) } else { Ok(()) }
    }
}
