//! A provider that accepts a count and does not deliver. Pure.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Fault;

/// How long nothing may change before it is said, and the count asked for again: images are
/// pulled and machines found within a minute, or else somebody should look.
const PATIENCE: Duration = Duration::from_secs(60);

/// The same while there are more than were asked for: a rolling update has some to spare.
const SURPLUS_PATIENCE: Duration = Duration::from_secs(600);

/// The difference between what was asked for and what there is.
#[derive(Debug, Default)]
pub(super) struct Shortfall {
    short: Option<Short>,
}

#[derive(Debug)]
struct Short {
    asked: u32,
    exist: u32,
    since: SystemTime,
    patience: Duration,
    due: Instant,
    fault: Option<Fault>,
}

impl Shortfall {
    /// Takes in how many were asked for, `None` while nobody has or the answer is out, and
    /// how many exist.
    pub(super) fn note(&mut self, asked: Option<u32>, exist: u32, now: Instant) {
        let was = self.short.as_ref().map(|short| (short.asked, short.exist));
        let asked = asked.or(was.map(|(asked, _)| asked));
        let is = asked.filter(|asked| exist != *asked);
        let is = is.map(|asked| (asked, exist));
        if is != was {
            self.short = is.map(|(asked, exist)| Short::new(asked, exist, now));
        }
    }

    /// Whether it has lasted for another while, and is to be asked for again.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        self.short.as_mut().is_some_and(|short| short.is_over(now))
    }

    /// What is wrong, once it has lasted.
    pub(super) fn fault(&self) -> Option<&Fault> {
        self.short.as_ref()?.fault.as_ref()
    }

    /// When it will have lasted (again).
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.short.as_ref().map(|short| short.due)
    }
}

impl Short {
    fn new(asked: u32, exist: u32, now: Instant) -> Self {
        let is_update = 0 < asked && asked < exist;
        let patience = if is_update {
            SURPLUS_PATIENCE
        } else {
            PATIENCE
        };
        Self {
            asked,
            exist,
            since: SystemTime::now(),
            patience,
            due: now + patience,
            fault: None,
        }
    }

    fn is_over(&mut self, now: Instant) -> bool {
        if now < self.due {
            return false;
        }
        let (asked, exist, patience) = (self.asked, self.exist, self.patience);
        self.due = now + patience;
        self.fault.get_or_insert_with(|| Fault {
            message: format!("asked for {asked} replicas, {exist} exist for over {patience:?}"),
            since: self.since,
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_count_that_does_not_come_is_said_after_a_minute_and_asked_again_each_minute() {
        let start = Instant::now();
        let mut shortfall = Shortfall::default();
        shortfall.note(Some(4), 2, start);
        assert!(!shortfall.is_over(start + PATIENCE - Duration::from_secs(1)));
        assert_eq!(shortfall.fault(), None);
        assert_eq!(shortfall.due_at(), Some(start + PATIENCE));
        assert!(shortfall.is_over(start + PATIENCE));
        let message = &shortfall.fault().unwrap().message;
        assert_eq!(message, "asked for 4 replicas, 2 exist for over 60s");
        shortfall.note(None, 2, start + PATIENCE);
        assert!(shortfall.fault().is_some(), "asking again is no cure");
        assert!(!shortfall.is_over(start + PATIENCE));
        assert!(shortfall.is_over(start + 2 * PATIENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn progress_takes_the_fault_back() {
        let start = Instant::now();
        let mut shortfall = Shortfall::default();
        shortfall.note(None, 2, start);
        assert_eq!(shortfall.due_at(), None, "never asked");
        shortfall.note(Some(4), 2, start);
        assert!(shortfall.is_over(start + PATIENCE));
        shortfall.note(Some(4), 3, start + PATIENCE);
        assert_eq!(shortfall.fault(), None);
        assert_eq!(shortfall.due_at(), Some(start + 2 * PATIENCE));
        shortfall.note(Some(4), 4, start + PATIENCE);
        assert_eq!(shortfall.due_at(), None);
        let start = start + PATIENCE;
        shortfall.note(Some(4), 5, start);
        assert_eq!(shortfall.due_at(), Some(start + SURPLUS_PATIENCE));
        shortfall.note(Some(0), 5, start);
        assert_eq!(shortfall.due_at(), Some(start + PATIENCE));
    }
}
