//! The search for a target: one that is picked, or the first that has capacity; another one after
//! a failed attempt.

use super::deadline::Deadline;
use super::preference::Preference;
use super::presence::Presence;
use super::queue::wait_for_slot;
use super::worker::Proxy;
use crate::clock;
use crate::model::Failure;
use crate::observe::Record;
use crate::target::Lease;
use crate::target_group::{PickRequest, TargetGroup, Tried, Unavailable};

/// The search of one request or connection, which knows the targets that were tried.
pub(super) struct Search<'a> {
    proxy: &'a Proxy,
    group: &'a TargetGroup,
    preference: Preference,
    /// The deadline of the whole request, if it has one.
    until: Option<Deadline>,
    tried: Tried,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        proxy: &'a Proxy,
        group: &'a TargetGroup,
        preference: Preference,
        until: Option<Deadline>,
    ) -> Self {
        Self {
            proxy,
            group,
            preference,
            until,
            tried: Tried::default(),
        }
    }

    /// The first target; waits for it if all are full and the group has a queue.
    pub(super) async fn first(
        &mut self,
        record: &mut Record,
        client: &mut impl Presence,
    ) -> Result<Lease, Failure> {
        match self.acquire(record) {
            Err(unavailable) if self.may_wait(unavailable) => self.wait(record, client).await,
            acquired => Ok(acquired?),
        }
    }

    /// A target that was not tried; does not wait.
    pub(super) fn acquire(&mut self, record: &Record) -> Result<Lease, Unavailable> {
        let request = PickRequest {
            key: self.preference.key,
            session: self.session(record),
            entropy: self.proxy.entropy.next(),
            now: record.started(),
        };
        self.group.acquire(&request, &mut self.tried)
    }

    /// Whether a target may become available: one that is busy, or the first of a group that is
    /// about to get one.
    pub(super) fn may_wait(&self, unavailable: Unavailable) -> bool {
        match unavailable {
            Unavailable::Full => true,
            Unavailable::NoTarget => self.group.waits_when_empty(&self.tried),
            Unavailable::AllTried => false,
        }
    }

    /// Whether there may be a target that was not tried.
    pub(super) fn has_another(&self) -> bool {
        self.group.has_another(&self.tried)
    }

    /// Waits for a target that was not tried, after an attempt that failed. If there is none, that
    /// failure stands.
    pub(super) async fn wait_after(
        &mut self,
        failure: Failure,
        record: &mut Record,
        client: &mut impl Presence,
    ) -> Result<Lease, Failure> {
        let waited = self.wait(record, client).await;
        waited.map_err(|error| match error {
            Failure::Overloaded
            | Failure::QueueFull
            | Failure::QueueTimeout
            | Failure::NoTarget => failure,
            gone => gone,
        })
    }

    async fn wait(
        &mut self,
        record: &mut Record,
        client: &mut impl Presence,
    ) -> Result<Lease, Failure> {
        let session = self.session(record);
        let waited = wait_for_slot(
            self.group,
            session,
            &mut self.tried,
            self.until.map(|until| until.at),
            record,
            client,
        )
        .await;
        // The attempt begins now: it takes this reading over.
        clock::now();
        waited
    }

    /// The target of the session, which counts for the first attempt only.
    fn session(&self, record: &Record) -> Option<u64> {
        self.preference.session.filter(|_| record.attempts == 0)
    }
}
