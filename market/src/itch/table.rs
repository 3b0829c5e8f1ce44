//! A hash table of fixed size, for orders and price levels: it never grows, and is at most half full.
//!
//! A key lies in the first free slot from the one that its hash names. Removing a key moves those that follow it back,
//! so nothing is left behind and a search ends at the first free slot, however long the table has been in use.

/// Values by number.
pub(super) struct Table<V> {
    slots: Box<[(u64, Option<V>)]>,
    count: usize,
    limit: usize,
}

impl<V: Copy> Table<V> {
    /// Room for `limit` keys.
    pub(super) fn new(limit: usize) -> Self {
        let slots = limit.max(1).saturating_mul(2).next_power_of_two();
        Self { slots: vec![(0, None); slots].into(), count: 0, limit }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn clear(&mut self) {
        self.slots.fill((0, None));
        self.count = 0;
    }

    /// Calls `take` with each key and its value, in no order.
    pub(super) fn for_each(&self, mut take: impl FnMut(u64, V)) {
        self.slots.iter().for_each(|(key, value)| value.iter().for_each(|value| take(*key, *value)));
    }

    fn mask(&self) -> usize {
        self.slots.len() - 1
    }

    /// The slot where a key belongs. Every bit of the key moves every bit of it.
    fn home(&self, key: u64) -> usize {
        let mut hash = key ^ (key >> 32);
        hash = hash.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        (hash ^ (hash >> 32)) as usize & self.mask()
    }

    /// Where a key is, or would be.
    fn find(&self, key: u64) -> Result<usize, usize> {
        let mut at = self.home(key);
        // Half of the slots are free, so this ends.
        loop {
            match self.slots[at] {
                (_, None) => return Err(at),
                (found, Some(_)) if found == key => return Ok(at),
                _ => at = (at + 1) & self.mask(),
            }
        }
    }

    pub(super) fn get(&self, key: u64) -> Option<V> {
        self.find(key).ok().and_then(|at| self.slots[at].1)
    }

    /// Sets a key's value. `false` if there is no room for another key.
    pub(super) fn set(&mut self, key: u64, value: V) -> bool {
        match self.find(key) {
            Ok(at) => self.slots[at].1 = Some(value),
            Err(_) if self.count == self.limit => return false,
            Err(at) => {
                self.slots[at] = (key, Some(value));
                self.count += 1;
            }
        }
        true
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<V> {
        let mut hole = self.find(key).ok()?;
        let value = self.slots[hole].1.take();
        self.count -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask();
            let (key, Some(_)) = self.slots[at] else { return value };
            // It may move unless its home lies behind the hole.
            let distance = at.wrapping_sub(self.home(key)) & self.mask();
            if distance >= at.wrapping_sub(hole) & self.mask() {
                self.slots.swap(hole, at);
                hole = at;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        /// It is a map, but for its limit. Few keys, so that they meet; many of them share a slot.
        #[test]
        fn is_a_bounded_map(steps in prop::collection::vec((0..3u8, 0..40u64, any::<u32>()), 1..400)) {
            let mut table = Table::new(16);
            let mut model = HashMap::new();
            for (what, key, value) in steps {
                let key = key.wrapping_mul(0x0101_0101_0101_0101);
                match what {
                    0 => prop_assert_eq!(table.remove(key), model.remove(&key)),
                    _ => {
                        let fits = model.contains_key(&key) || model.len() < 16;
                        prop_assert_eq!(table.set(key, value), fits);
                        if fits {
                            model.insert(key, value);
                        }
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                for key in 0..40u64 {
                    let key = key.wrapping_mul(0x0101_0101_0101_0101);
                    prop_assert_eq!(table.get(key), model.get(&key).copied());
                }
            }
        }
    }
}
