//! A timer wheel: many deadlines, each set and removed in constant time.
//!
//! Time is a number of ticks. As in the hierarchical wheels of Varghese and Lauck, each level has 64
//! slots, and a slot of one level is as long as all slots of the level below. A deadline is in the
//! slot of the highest digit (to base 64) in which it differs from the present; when that slot's
//! time comes, its deadlines move to lower levels. There is no present and no clock here: the caller
//! says how far time has advanced.

const DIGIT: u32 = 6;
const SLOTS: usize = 1 << DIGIT;
const LEVELS: usize = 6;

/// The last tick; deadlines behind it are set to it. With ticks of 17 ms it is 36 years away.
const LAST: u64 = (1 << (DIGIT as usize * LEVELS)) - 1;

/// No entry: the end of a list.
const NONE: u32 = u32::MAX;

/// An entry that is in no slot.
const UNSET: u16 = u16::MAX;

/// Deadlines with a value each, which is given back when the deadline has come.
#[derive(Debug)]
pub(super) struct Wheel<T> {
    now: u64,
    entries: Vec<Entry<T>>,
    /// The first free entry.
    free: u32,
    used: u32,
    /// The first entry of each slot, level by level.
    slots: [u32; SLOTS * LEVELS],
    /// A bit for each slot that has entries.
    occupied: [u64; LEVELS],
}

/// A deadline, which is set, or has come, or is free. Those of a slot form a list in the order in
/// which they were set, and the first one's `previous` is the last one; the free ones form a list
/// by `next`.
#[derive(Debug)]
struct Entry<T> {
    at: u64,
    next: u32,
    previous: u32,
    slot: u16,
    value: Option<T>,
}

/// Names an entry until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u32);

impl<T> Wheel<T> {
    pub(super) const fn new() -> Self {
        Self {
            now: 0,
            entries: Vec::new(),
            free: NONE,
            used: 0,
            slots: [NONE; SLOTS * LEVELS],
            occupied: [0; LEVELS],
        }
    }

    /// How far time has advanced.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Whether no key is in use.
    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Begins again at 0. To be called while it is empty.
    pub(super) fn restart(&mut self) {
        debug_assert!(self.is_empty(), "deadlines would be lost");
        self.now = 0;
    }

    /// Sets a deadline, which has come at the next tick at the earliest.
    pub(super) fn insert(&mut self, at: u64, value: T) -> Key {
        let index = self.take_free();
        self.used += 1;
        self.set(Key(index), at, value);
        Key(index)
    }

    /// The value of a key; `None` once its deadline has come.
    pub(super) fn get(&mut self, key: Key) -> Option<&mut T> {
        self.entries[key.0 as usize].value.as_mut()
    }

    /// Sets another deadline with another value, whether the one before has come or not. Returns
    /// the value before.
    pub(super) fn set(&mut self, key: Key, at: u64, value: T) -> Option<T> {
        self.unlink(key.0);
        let at = at.max(self.now + 1).min(LAST);
        let entry = &mut self.entries[key.0 as usize];
        entry.at = at;
        let before = entry.value.replace(value);
        self.link(key.0);
        before
    }

    /// Ends the use of a key. Returns the value if the deadline has not come.
    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        self.unlink(key.0);
        let entry = &mut self.entries[key.0 as usize];
        entry.next = self.free;
        self.free = key.0;
        self.used -= 1;
        let value = entry.value.take();
        if self.is_empty() && self.entries.len() > SLOTS {
            // What a busy hour has needed goes back.
            (self.entries, self.free) = (Vec::new(), NONE);
        }
        value
    }

    /// The next time at which [`Self::advance`] has something to do; no deadline is earlier.
    pub(super) fn next(&self) -> Option<u64> {
        self.next_slot().map(|(at, _)| at)
    }

    /// Advances to a time, and gives back the values of all deadlines that have come, in their order;
    /// those of one tick in the order in which they were set.
    pub(super) fn advance(&mut self, to: u64, mut come: impl FnMut(T)) {
        let to = to.min(LAST);
        while let Some((at, slot)) = self.next_slot()
            && at <= to
        {
            self.now = at;
            self.empty_slot(slot, &mut come);
        }
        self.now = self.now.max(to);
    }

    fn empty_slot(&mut self, slot: usize, come: &mut impl FnMut(T)) {
        self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
        let mut index = std::mem::replace(&mut self.slots[slot], NONE);
        while index != NONE {
            let entry = &mut self.entries[index as usize];
            let this = std::mem::replace(&mut index, entry.next);
            entry.slot = UNSET;
            if entry.at > self.now {
                self.link(this);
            } else if let Some(value) = entry.value.take() {
                come(value);
            }
        }
    }

    /// The first slot with entries, and the time at which it begins. It is on the lowest level that
    /// has any: a deadline on a higher one is after the end of the slots below.
    fn next_slot(&self) -> Option<(u64, usize)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let shift = DIGIT as usize * level;
        let above = self.now >> shift >> DIGIT << DIGIT;
        Some(((above | slot as u64) << shift, level * SLOTS + slot))
    }

    fn take_free(&mut self) -> u32 {
        if self.free != NONE {
            let index = self.free;
            self.free = self.entries[index as usize].next;
            return index;
        }
        self.entries.push(Entry {
            at: 0,
            next: NONE,
            previous: NONE,
            slot: UNSET,
            value: None,
        });
        // There are fewer than descriptors, of which a process has no 2³² either.
        (self.entries.len() - 1) as u32
    }

    fn link(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        let level = ((self.now ^ entry.at) | 1).ilog2() / DIGIT;
        let digit = (entry.at >> (DIGIT * level)) as usize % SLOTS;
        let slot = level as usize * SLOTS + digit;
        entry.slot = slot as u16;
        (entry.previous, entry.next) = (index, NONE);
        let first = self.slots[slot];
        if first == NONE {
            self.slots[slot] = index;
        } else {
            let last = std::mem::replace(&mut self.entries[first as usize].previous, index);
            self.entries[last as usize].next = index;
            self.entries[index as usize].previous = last;
        }
        self.occupied[level as usize] |= 1 << digit;
    }

    fn unlink(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        let slot = std::mem::replace(&mut entry.slot, UNSET) as usize;
        if slot == UNSET as usize {
            return;
        }
        let (previous, next) = (entry.previous, entry.next);
        let first = self.slots[slot];
        if first == index {
            self.slots[slot] = next;
        } else {
            self.entries[previous as usize].next = next;
        }
        if next != NONE {
            self.entries[next as usize].previous = previous;
        } else if first == index {
            self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
        } else {
            self.entries[first as usize].previous = previous;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What is done to a wheel.
    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        /// One of those in use, counted from the oldest.
        Set(usize, u64),
        Remove(usize),
        Advance(u64),
    }

    /// From the next tick to beyond the last one, all lengths alike.
    fn distance() -> impl Strategy<Value = u64> {
        (0..38_u32).prop_flat_map(|bits| 0..(1_u64 << bits))
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            distance().prop_map(Step::Insert),
            (any::<usize>(), distance()).prop_map(|(which, after)| Step::Set(which, after)),
            any::<usize>().prop_map(Step::Remove),
            distance().prop_map(Step::Advance),
        ]
    }

    /// A wheel, and what has to be in it: the deadline of each number, `None` once it has come.
    struct Checked {
        wheel: Wheel<usize>,
        expected: BTreeMap<usize, (Key, Option<u64>)>,
        inserted: usize,
    }

    impl Checked {
        fn new() -> Self {
            Self {
                wheel: Wheel::new(),
                expected: BTreeMap::new(),
                inserted: 0,
            }
        }

        fn deadline(&self, after: u64) -> u64 {
            let now = self.wheel.now();
            now.saturating_add(after).max(now + 1).min(LAST)
        }

        fn pick(&self, which: usize) -> Option<usize> {
            let used: Vec<_> = self.expected.keys().copied().collect();
            (!used.is_empty()).then(|| used[which % used.len()])
        }

        fn apply(&mut self, step: &Step) {
            match *step {
                Step::Insert(after) => {
                    let (number, at) = (self.inserted, self.deadline(after));
                    self.inserted += 1;
                    let asked = self.wheel.now().saturating_add(after);
                    let key = self.wheel.insert(asked, number);
                    self.expected.insert(number, (key, Some(at)));
                }
                Step::Set(which, after) => {
                    let Some(number) = self.pick(which) else {
                        return;
                    };
                    let at = self.deadline(after);
                    let asked = self.wheel.now().saturating_add(after);
                    let (key, before) = self.expected[&number];
                    let value = self.wheel.set(key, asked, number);
                    assert_eq!(value.is_some(), before.is_some());
                    self.expected.insert(number, (key, Some(at)));
                }
                Step::Remove(which) => {
                    let Some(number) = self.pick(which) else {
                        return;
                    };
                    let (key, at) = self.expected.remove(&number).unwrap();
                    let value = self.wheel.remove(key);
                    assert_eq!(value, at.map(|_| number));
                }
                Step::Advance(by) => self.advance(by),
            }
        }

        fn advance(&mut self, by: u64) {
            let to = self.wheel.now().saturating_add(by).min(LAST);
            let mut come = Vec::new();
            self.wheel.advance(to, |number| come.push(number));
            assert_eq!(self.wheel.now(), to);
            let mut due: Vec<_> = self.expected.iter_mut().collect();
            due.retain(|(_, (_, at))| at.is_some_and(|at| at <= to));
            let mut numbers: Vec<_> = due.iter().map(|(number, _)| **number).collect();
            come.sort_unstable();
            numbers.sort_unstable();
            assert_eq!(come, numbers, "exactly those that are due");
            for (_, (_, at)) in due {
                *at = None;
            }
        }

        fn check_next(&self) {
            let first = self.expected.values().filter_map(|(_, at)| *at).min();
            let (now, next) = (self.wheel.now(), self.wheel.next());
            assert_eq!(next.is_some(), first.is_some());
            if let (Some(next), Some(first)) = (next, first) {
                assert!(now < next && next <= first);
            }
        }
    }

    proptest! {
        #[test]
        fn deadlines_come_exactly_when_their_time_has(steps in prop::collection::vec(step(), 0..200)) {
            let mut checked = Checked::new();
            for step in &steps {
                // The end of time, where nothing can be set any more.
                if checked.wheel.now() == LAST {
                    break;
                }
                checked.apply(step);
                checked.check_next();
            }
            for (key, _) in std::mem::take(&mut checked.expected).into_values() {
                checked.wheel.remove(key);
            }
            let wheel = checked.wheel;
            assert!(wheel.is_empty() && wheel.next().is_none(), "nothing is left");
            assert!(wheel.occupied.iter().all(|&slots| slots == 0));
        }
    }

    #[test]
    fn deadlines_of_one_tick_come_in_the_order_in_which_they_were_set() {
        let mut wheel = Wheel::new();
        let at = 64 * 64 + 70;
        let mut keys: Vec<_> = (0..6).map(|number| wheel.insert(at, number)).collect();
        wheel.advance(64 * 64 + 1, |_| {});
        keys.push(wheel.insert(at, 6));
        wheel.advance(64 * 64 + 64, |_| {});
        keys.push(wheel.insert(at, 7));
        for removed in [0, 3, 7] {
            wheel.remove(keys[removed]);
        }
        wheel.set(keys[1], at, 1);
        let mut come = Vec::new();
        wheel.advance(at, |number| come.push(number));
        assert_eq!(come, [2, 4, 5, 6, 1]);
    }

    #[test]
    fn removed_entries_are_used_again() {
        let mut wheel = Wheel::new();
        for round in 0..1000 {
            let keys = [1, 100, 10_000].map(|after| wheel.insert(round + after, after));
            for key in keys {
                wheel.remove(key);
            }
        }
        assert_eq!(wheel.entries.len(), 3);
    }

    #[test]
    fn the_memory_of_many_deadlines_goes_back_after_the_last_one() {
        let mut wheel = Wheel::new();
        let keys: Vec<_> = (1..=1000).map(|at| wheel.insert(at, at)).collect();
        wheel.advance(500, |_| {});
        for key in keys {
            wheel.remove(key);
        }
        assert_eq!(wheel.entries.capacity(), 0);
        let key = wheel.insert(501, 501);
        assert_eq!(wheel.remove(key), Some(501));
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry<std::task::Waker>>() <= 40);
    }
}
