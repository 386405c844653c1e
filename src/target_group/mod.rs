//! A set of targets with one policy, and how a request gets one of them.
//!
//! A [`TargetGroup`] is immutable: whoever changes membership, weights or health
//! builds another one. Roster and picker change together or not at all.

mod budget;
mod roster;
mod slow_start;
mod sticky;
mod thinning;

use std::sync::Arc;
use std::time::Instant;

use crate::balance::{PickContext, Picker, Roster};
use crate::model::{HashKey, Overload, Registration, Retry, TargetGroupId, Upstream};
use crate::target::{Admission, KeepAlive, Lease, Serial, Target, Waiter, Wants};

pub use crate::balance::{hash_client, hash_key, hash_target};
pub use budget::{Budget, Permit};
pub use roster::{Choice, FailOpen, choose};
pub use slow_start::advance;
pub use sticky::{ApplicationCookie, Choices, Nonce, Seal, Session, Sessions, Verdict, draining};
pub use thinning::Thinning;

/// A set of targets with one policy.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // four facts that have nothing to do with each other
pub struct TargetGroup {
    /// Its name.
    pub id: TargetGroupId,
    /// Deadlines and pools towards its targets.
    pub upstream: Upstream,
    /// When a failed request goes to another target.
    pub retry: Retry,
    /// What its targets take at a time, and who waits.
    pub overload: Overload,
    /// Whether requests wait in its queue while there is nobody at all: its first replica
    /// starts because of them.
    pub scales_to_zero: bool,
    /// The same as live state, shared with the targets.
    pub admission: Arc<Admission<Target>>,
    /// What requests are hashed by; `None` when the algorithm does not hash.
    pub hash_key: Option<HashKey>,
    /// Everybody in it, eligible or not; then those who have left it and have requests.
    pub targets: Arc<[Registered]>,
    /// Whether its algorithm goes by how long targets take: see [`Target::answered`].
    pub measures_time: bool,
    /// Whom a request may get; `None` when there is nobody.
    pub selection: Option<Selection>,
    /// Whether requests go to targets that fail their checks, because too few pass.
    pub failing_open: bool,
    /// Whether anybody may be picked who passes the checks, if there are any. Clients that
    /// stay with a group leave it otherwise.
    pub is_alive: bool,
    /// How clients stay on a target; `None` chooses anew for every request.
    pub sticky: Option<Sessions>,
    /// What outlives it.
    pub live: Live,
}

/// What a group has learned and spent: kept by `state::Registry`, so that it outlives the
/// group's next version.
#[derive(Clone, Debug)]
pub struct Live {
    /// What its retries may cost.
    pub budget: Arc<Budget>,
    /// For how long its targets keep idle connections.
    pub keep_alive: Arc<KeepAlive>,
}

impl Live {
    /// Of a group that begins at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            budget: Arc::new(Budget::new(now)),
            keep_alive: Arc::new(KeepAlive::new(now)),
        }
    }
}

/// A target of a group with its settings.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Its live state.
    pub target: Arc<Target>,
    /// 0-999; 0 gets no new requests.
    pub weight: u16,
    /// What is wanted from it.
    pub registration: Registration,
}

impl PartialEq for Registered {
    /// The same target, not one like it, with the same settings.
    fn eq(&self, other: &Self) -> bool {
        self.target.serial == other.target.serial
            && (self.weight, self.registration) == (other.weight, other.registration)
    }
}

/// The eligible targets and the algorithm over them.
#[derive(Debug)]
pub struct Selection {
    /// Who may be picked.
    pub roster: Arc<Roster>,
    /// Who is.
    pub picker: Box<dyn Picker>,
    /// Who is passed over though picked; `None` when nobody is.
    pub thinning: Option<Thinning>,
    /// Whether keys go another way until the table of this roster is built.
    pub is_provisional: bool,
}

/// What a request asks of a group.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// What `consistent_hash` goes by.
    pub key: Option<u64>,
    /// The target of the request's session, by [`hash_target`]; `None` from the second
    /// attempt on.
    pub session: Option<u64>,
    /// Random bits.
    pub entropy: u64,
    /// When the request came.
    pub now: Instant,
}

impl Wish {
    fn context<'a>(&self, tried: &'a [usize]) -> PickContext<'a> {
        PickContext {
            key: self.key,
            entropy: self.entropy,
            now: self.now,
            tried,
        }
    }
}

/// Most targets one request may try: with so many that cannot even be reached, another
/// will not help.
pub const MAX_ATTEMPTS: usize = 8;

/// The members a request has tried: a short list that needs no allocation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    indexes: [usize; MAX_ATTEMPTS],
    len: usize,
}

impl Tried {
    /// The members, in the order they were tried.
    pub fn as_slice(&self) -> &[usize] {
        &self.indexes[..self.len]
    }

    fn push(&mut self, index: usize) {
        self.indexes[self.len] = index;
        self.len += 1;
    }

    fn is_full(&self) -> bool {
        self.len == MAX_ATTEMPTS
    }
}

/// Why a group has no target for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Nobody is eligible.
    NoTarget,
    /// Everybody eligible, or as many as one request may try, has been tried.
    AllTried,
    /// Everybody eligible who has not been tried has as many requests as its group allows.
    Full,
}

impl TargetGroup {
    /// Whether there may be a target that was not tried yet.
    pub fn has_another(&self, tried: &Tried) -> bool {
        let selection = self.selection.as_ref();
        selection.is_some_and(|selection| tried.len < selection.roster.members().len())
            && !tried.is_full()
    }

    /// Picks a target and starts a request on it. `tried` grows by the member that
    /// was picked, so a retry with the same list goes elsewhere.
    pub fn acquire(&self, wish: &Wish, tried: &mut Tried) -> Result<Lease, Unavailable> {
        if let (Some(session), Some(sessions)) = (wish.session, &self.sticky)
            && let Some(lease) = sessions.resume(session, tried)?
        {
            return Ok(lease);
        }
        let selection = self.selection.as_ref().ok_or(Unavailable::NoTarget)?;
        if tried.is_full() {
            return Err(Unavailable::AllTried);
        }
        let context = wish.context(tried.as_slice());
        let index = selection.picker.pick(&context);
        let index = index.ok_or(Unavailable::AllTried)?;
        if self.admission.waiting() > 0 {
            // Whoever waits comes first.
            return Err(Unavailable::Full);
        }
        if !selection.holds_back(index, wish)
            && let Some(lease) = selection.roster.members()[index].target.try_lease()
        {
            tried.push(index);
            return Ok(lease);
        }
        selection.acquire_beside(index, wish, tried)
    }

    /// Whether a request that has tried these may wait for somebody who is to come.
    pub fn awaits_another(&self, tried: &Tried) -> bool {
        self.scales_to_zero && self.selection.is_none() && !tried.is_full()
    }

    /// Joins the queue of requests that wait for a slot: on the target of the session if it
    /// is to be waited for, otherwise on any target that was not tried. Returns `None` if the
    /// queue is full.
    pub fn enqueue(&self, session: Option<u64>, tried: &Tried) -> Option<Waiter<Target>> {
        let sessions = session.zip(self.sticky.as_ref());
        let home = sessions.and_then(|(session, sessions)| sessions.waits_for(session));
        let wants = match home {
            Some(home) => Wants::Only(home.serial),
            None => Wants::AnyBut(self.tried(tried)),
        };
        self.admission.enqueue(wants, self.overload.queue_length)
    }

    fn tried(&self, tried: &Tried) -> Vec<Serial> {
        let members = self.selection.iter().flat_map(|s| s.roster.members());
        members
            .enumerate()
            .filter(|(index, _)| tried.as_slice().contains(index))
            .map(|(_, member)| member.target.serial)
            .collect()
    }

    /// Notes that a request was sent to a target that [`Self::acquire`] did not pick. One
    /// that joined after this roster was built takes up a try all the same.
    pub fn note(&self, target: &Target, tried: &mut Tried) {
        let mut members = self.selection.iter().flat_map(|s| s.roster.members());
        let index = members.position(|member| member.target.serial == target.serial);
        tried.push(index.unwrap_or(usize::MAX));
    }
}

impl Selection {
    /// The same when the member picked first is full or held back: one that is neither, or
    /// else whoever has a place. To be held back is never a reason for an error.
    #[cold]
    fn acquire_beside(
        &self,
        first: usize,
        wish: &Wish,
        tried: &mut Tried,
    ) -> Result<Lease, Unavailable> {
        let members = self.roster.members();
        let mut passed = *tried;
        passed.push(first);
        while !passed.is_full()
            && let Some(index) = self.picker.pick(&wish.context(passed.as_slice()))
        {
            if !self.holds_back(index, wish)
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

    /// Whether a request passes a member over; one branch when nobody is.
    fn holds_back(&self, index: usize, wish: &Wish) -> bool {
        let thinning = self.thinning.as_ref();
        thinning.is_some_and(|thinning| thinning.holds_back(index, &self.roster, wish))
    }
}
