//! How many connections a listener may have, over all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::net::descriptors::{Share, Taken};

/// The cap of one listener. It may change while connections are open: those beyond a
/// smaller cap stay, and nobody comes in until there is room below it.
#[derive(Debug)]
pub struct Cap {
    /// Shared by all listeners.
    descriptors: Share,
    limit: AtomicUsize,
    open: AtomicUsize,
    room: Notify,
}

/// One connection below a cap; dropping it makes room.
#[derive(Debug)]
pub struct Place {
    cap: Arc<Cap>,
    _descriptor: Taken,
}

impl Cap {
    /// No connection yet. Each takes one of `descriptors` as well.
    pub fn new(limit: usize, descriptors: Share) -> Self {
        Self {
            descriptors,
            limit: AtomicUsize::new(limit),
            open: AtomicUsize::new(0),
            room: Notify::new(),
        }
    }

    /// Connections now open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Changes the cap.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::SeqCst);
        // There may be room for several; those for whom there is none wait again.
        self.room.notify_waiters();
    }

    /// Waits for room and takes it. Cancel-safe.
    pub(super) async fn enter(self: &Arc<Self>) -> Place {
        let descriptor = self.descriptors.take().await;
        loop {
            // Created before the look, so that a place given up in between is not missed.
            let room = self.room.notified();
            if self.try_enter() {
                return Place {
                    cap: Arc::clone(self),
                    _descriptor: descriptor,
                };
            }
            room.await;
        }
    }

    fn try_enter(&self) -> bool {
        let limit = self.limit.load(Ordering::SeqCst);
        let one_more = |open| (open < limit).then_some(open + 1);
        self.open
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .is_ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.cap.open.fetch_sub(1, Ordering::SeqCst);
        self.cap.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn cap(limit: usize) -> Cap {
        Cap::new(limit, Share::new(100))
    }

    #[tokio::test]
    async fn who_leaves_lets_the_next_one_in() {
        let cap = Arc::new(cap(1));
        let first = cap.enter().await;
        let mut second = Box::pin(cap.enter());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        let second = second.now_or_never().expect("there is room");
        assert_eq!(cap.open(), 1);
        drop(second);
        assert_eq!(cap.open(), 0);
    }

    #[tokio::test]
    async fn a_smaller_cap_holds_once_enough_have_left() {
        let cap = Arc::new(cap(3));
        let mut inside = vec![cap.enter().await, cap.enter().await, cap.enter().await];
        cap.set_limit(1);
        let mut next = Box::pin(cap.enter());
        for left in [2, 1] {
            assert!(next.as_mut().now_or_never().is_none());
            inside.pop();
            assert_eq!(cap.open(), left);
        }
        assert!(next.as_mut().now_or_never().is_none());
        inside.pop();
        assert!(next.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_larger_cap_lets_all_in_who_fit() {
        let cap = Arc::new(cap(1));
        let first = cap.enter().await;
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(cap.enter())).collect();
        for waiting in &mut waiting {
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        cap.set_limit(3);
        let entered: Vec<_> = waiting
            .iter_mut()
            .filter_map(|waiting| waiting.as_mut().now_or_never())
            .collect();
        assert_eq!((entered.len(), cap.open()), (2, 3));
        drop(first);
    }

    #[tokio::test]
    async fn listeners_share_the_descriptors_of_clients() {
        let share = Share::new(1);
        let [one, other] = [(); 2].map(|()| Arc::new(Cap::new(10, share.clone())));
        let first = one.enter().await;
        let mut second = Box::pin(other.enter());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert!(second.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_passes_its_turn_on() {
        let cap = Arc::new(cap(1));
        let first = cap.enter().await;
        let (mut one, mut other) = (Box::pin(cap.enter()), Box::pin(cap.enter()));
        assert!(one.as_mut().now_or_never().is_none());
        assert!(other.as_mut().now_or_never().is_none());
        drop(first);
        drop(one);
        assert!(other.now_or_never().is_some());
    }
}
