//! Requests that another process has on a target.

use std::sync::Arc;

use super::Target;

/// How many requests another process has in flight on a target, during a handover.
///
/// They take slots like requests of this process, so that the limit of a target holds over
/// both. Dropping it gives the slots back.
#[derive(Debug)]
pub struct RemoteLeases {
    target: Arc<Target>,
    count: u32,
}

impl RemoteLeases {
    /// No requests yet.
    pub fn on(target: &Arc<Target>) -> Self {
        Self {
            target: Arc::clone(target),
            count: 0,
        }
    }

    /// The target.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// As counted last.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Replaces the count, whatever the limit of the target. Slots that become free go to
    /// the requests that wait.
    pub fn set(&mut self, count: u32) {
        let before = std::mem::replace(&mut self.count, count);
        let load = self.target.load();
        if count > before {
            load.add_remote(count - before);
        } else if before > count {
            self.target.end(before - count);
            load.forget_remote(before - count);
        }
    }
}

impl Drop for RemoteLeases {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use futures_util::FutureExt;

    use super::*;
    use crate::model::TargetId;
    use crate::target::{Admission, Wants};

    fn limited(limit: u32) -> (Arc<Admission<Target>>, Arc<Target>) {
        let admission = Arc::new(Admission::default());
        let id = TargetId {
            group: "todo".into(),
            addr: "127.0.0.1:6400".parse().unwrap(),
        };
        let target = Arc::new(Target::with_admission(id, Arc::clone(&admission)));
        let eligible = [Arc::clone(&target)];
        admission.open(NonZeroU32::new(limit), &eligible, false);
        (admission, target)
    }

    #[test]
    fn requests_of_another_process_take_slots_until_it_has_none() {
        let (_, target) = limited(3);
        let mut remote = RemoteLeases::on(&target);
        remote.set(2);
        let own = target.try_lease();
        assert!(own.is_some());
        assert!(target.try_lease().is_none(), "2 and 1 are 3");
        remote.set(1);
        assert!(target.try_lease().is_some());
        drop(remote);
        assert_eq!(target.load().in_flight(), 1);
    }

    #[test]
    fn a_slot_that_another_process_gives_back_goes_to_the_queue() {
        let (admission, target) = limited(1);
        let mut remote = RemoteLeases::on(&target);
        remote.set(1);
        let mut waiter = admission
            .enqueue(Wants::AnyBut(Vec::new()), 1)
            .expect("one may wait");
        assert!((&mut waiter).now_or_never().is_none());
        remote.set(0);
        assert!((&mut waiter).now_or_never().flatten().is_some());
    }

    #[test]
    fn they_are_no_requests_that_this_process_has_finished() {
        let (_, target) = limited(10);
        drop(target.lease());
        let mut remote = RemoteLeases::on(&target);
        for count in [5, 2, 0, 7] {
            remote.set(count);
            assert_eq!(target.failings().finished, 1);
        }
    }
}
