//! What the hot thread does for the cold side, and what it asks of it.
//!
//! Orders come through a bounded queue, and their memory goes back through another: this thread frees nothing. What
//! the engine wants is passed on as long as there is room; what finds none waits in the engine.

use super::hot::HotLoop;
use super::{CloseReason, Event, Order};

impl HotLoop {
    /// Obeys every order that waits.
    pub(super) fn obey_all(&mut self, receive_ns: u64) -> std::io::Result<()> {
        while let Ok(order) = self.local.orders.pop() {
            self.obey(order, receive_ns)?;
        }
        Ok(())
    }

    fn obey(&mut self, order: Order, receive_ns: u64) -> std::io::Result<()> {
        match &order {
            Order::Adopt(_) => {}
            Order::Say { feed, line, text } => self.say(*feed, *line, text)?,
            Order::Book { feed, instrument, snapshot } => self.engine.book(*feed, *instrument, snapshot),
            Order::Trades { feed, instrument, missing, trades, is_final } => {
                self.engine.trades(*feed, *instrument, missing, trades, *is_final);
            }
            Order::End { feed, line } => self.end(*feed, *line)?,
        }
        match order {
            Order::Adopt(link) => self.adopt(link, receive_ns)?,
            spent => self.local.give_back(spent),
        }
        Ok(())
    }

    /// Has a message sent on one line of a feed, or on each of them. One that finds no room is not sent: whoever
    /// misses its effect asks again.
    fn say(&mut self, feed: usize, line: Option<usize>, text: &str) -> std::io::Result<()> {
        for place in 0..self.links.0.len() {
            let Some(link) = &mut self.links.0[place] else { continue };
            let is_meant = link.feed == feed && line.is_none_or(|line| line == link.line);
            if is_meant && !link.is_closed() && link.say(text) {
                self.go_on_sending(place)?;
            }
        }
        Ok(())
    }

    /// Ends a line whose successor is there. One that has ended by itself was reported already.
    fn end(&mut self, feed: usize, line: usize) -> std::io::Result<()> {
        for place in 0..self.links.0.len() {
            let Some(link) = &self.links.0[place] else { continue };
            if link.feed == feed && link.line == line && !link.is_closed() {
                self.close(place, CloseReason::Ended);
                self.go_on_sending(place)?;
            }
        }
        Ok(())
    }

    /// Passes on what the engine wants.
    pub(super) fn ask(&mut self) -> std::io::Result<()> {
        let mut is_asked = false;
        while !self.local.events.is_full()
            && let Some(want) = self.engine.next_want()
        {
            is_asked |= self.local.events.push(Event::Want(want)).is_ok();
        }
        if is_asked { self.local.ring_on(&mut self.ring) } else { Ok(()) }
    }
}
