//! The eligible targets of a group and the algorithm over them.

use std::sync::Arc;

use super::pick_request::{PickRequest, Tried, Unavailable};
use super::traffic_share::TrafficShare;
use crate::balance::{Picker, Roster};
use crate::target::Lease;

/// The eligible targets and the algorithm over them.
#[derive(Debug)]
pub struct Selection {
    /// The targets that may be picked.
    pub roster: Arc<Roster>,
    /// Picks one of them.
    pub picker: Box<dyn Picker>,
    /// Which members get less than they are picked for; `None` if none does.
    pub traffic_share: Option<TrafficShare>,
    /// Whether keys go to other targets until the table of this roster is built.
    pub is_provisional: bool,
}

impl Selection {
    /// Starts a request on the member that was picked, or on another one if that is full or
    /// skipped.
    #[inline] // the path of every request
    pub(super) fn acquire(
        &self,
        picked: usize,
        request: &PickRequest,
        tried: &mut Tried,
    ) -> Result<Lease, Unavailable> {
        if !self.skips(picked, request)
            && let Some(lease) = self.roster.members()[picked].target.try_lease()
        {
            tried.push(picked);
            return Ok(lease);
        }
        self.acquire_other(picked, request, tried)
    }

    /// Starts a request although the member picked first is full or skipped: on one that is
    /// neither, or else on any with a free slot. To be skipped is never a reason for an
    /// error.
    #[cold]
    fn acquire_other(
        &self,
        first: usize,
        request: &PickRequest,
        tried: &mut Tried,
    ) -> Result<Lease, Unavailable> {
        let members = self.roster.members();
        let mut passed = *tried;
        passed.push(first);
        while !passed.is_full()
            && let Some(index) = self.picker.pick(&request.context(passed.as_slice()))
        {
            if !self.skips(index, request)
                && let Some(lease) = members[index].target.try_lease()
            {
                tried.push(index);
                return Ok(lease);
            }
            passed.push(index);
        }
        // The first choice before others; if many are full, the picker's order matters less
        // than an end to the search.
        for index in (first..members.len()).chain(0..first) {
            if tried.as_slice().contains(&index) {
                continue;
            }
            if let Some(lease) = members[index].target.try_lease() {
                tried.push(index);
                return Ok(lease);
            }
        }
        Err(Unavailable::Full)
    }

    /// Whether a request passes a member over; one branch if all have their whole share.
    fn skips(&self, index: usize, request: &PickRequest) -> bool {
        self.traffic_share
            .as_ref()
            .is_some_and(|share| share.skips(index, &self.roster, request))
    }
}
