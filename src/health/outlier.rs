//! Outlier detection: which targets of a group are ejected because of the requests they fail.
//!
//! Pure: counters and time are arguments. A target is compared with its peers before it is
//! ejected, because a failure that all of them share (a bug, a lost database) is no reason to
//! eject any. Unlike a statistic over many targets this works from two targets up.
//!
//! How many targets may be ejected at a time is decided here too; what happens to a group which
//! has too few left is decided in `target_group`.

use std::time::{Duration, Instant};

use super::tally::{Tally, Window};
use crate::model::{EjectionReason, Outlier};
use crate::target::Failings;

/// The rules of a group.
#[derive(Clone, Copy, Debug)]
pub struct OutlierRules<'a> {
    /// `None` ejects no target, and readmits those that are ejected.
    pub outlier: Option<&'a Outlier>,
    /// Targets that stay eligible, whatever they do.
    pub min_healthy: usize,
}

/// The facts about a target at one moment.
#[derive(Clone, Copy, Debug)]
pub struct TargetView {
    /// Its counters.
    pub failings: Failings,
    /// Whether it is to get requests: active, with a weight.
    pub active: bool,
    /// Whether its checks pass, or the group has none.
    pub healthy: bool,
    /// Whether the last check that started after its ejection passed.
    pub checked: Option<bool>,
}

impl TargetView {
    fn is_eligible(&self) -> bool {
        self.active && self.healthy
    }
}

/// What happens to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It gets no requests for a while.
    Eject {
        /// The class of the reason.
        reason: EjectionReason,
        /// The reason with its numbers, for operators.
        detail: String,
        /// How long.
        time: Duration,
        /// How many ejections of this target count, with this one.
        times: u32,
    },
    /// It gets requests again.
    Readmit(Readmission),
    /// It would be ejected, but too many targets are ejected already.
    Withhold {
        /// The class of the reason.
        reason: EjectionReason,
        /// The reason with its numbers, for operators.
        detail: String,
        /// The setting that allows no more.
        limit: Limit,
    },
    /// There is no reason any more for an ejection that was withheld.
    Clear,
}

/// What bounds how many targets are ejected at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`Outlier::max_ejected`].
    MaxEjected,
    /// [`OutlierRules::min_healthy`].
    MinHealthy,
}

impl Limit {
    /// The key in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxEjected => "max_ejected",
            Self::MinHealthy => "min_healthy",
        }
    }
}

/// Why an ejected target gets requests again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readmission {
    /// The ejection ended.
    TimeOver,
    /// A check that started after the ejection passed.
    CheckPassed,
    /// The configuration ejects no target any longer.
    SwitchedOff,
}

impl Readmission {
    /// For the log.
    pub const fn text(self) -> &'static str {
        match self {
            Self::TimeOver => "its time is over",
            Self::CheckPassed => "a check passed",
            Self::SwitchedOff => "ejection is switched off",
        }
    }
}

/// What is remembered of a target from one evaluation to the next.
#[derive(Clone, Debug)]
pub struct History {
    window: Window,
    /// What its peers had done when the run of errors it is in was first seen.
    peers_at_run_start: Option<Tally>,
    ejected: Option<Ejected>,
    /// Whether its ejection was withheld at the last evaluation.
    withheld: bool,
    /// How many of its ejections count; one less with every interval without one.
    times: u32,
    /// When `times` is lowered next.
    next_decay: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Ejected {
    until: Instant,
    /// Whether a check has failed since: then a check that passes means something.
    check_failed: bool,
}

impl History {
    /// A target that is seen for the first time.
    pub fn new(failings: Failings, now: Instant) -> Self {
        Self {
            window: Window::new(failings.into(), now),
            peers_at_run_start: None,
            ejected: None,
            withheld: false,
            times: 0,
            next_decay: now,
        }
    }

    /// Whether it is ejected.
    pub fn is_ejected(&self) -> bool {
        self.ejected.is_some()
    }

    /// Evaluates the target by what it does from now on. The caller resets its runs of errors
    /// too.
    pub fn begin_anew(&mut self, failings: Failings, now: Instant) {
        self.window = Window::new(failings.into(), now);
        self.peers_at_run_start = None;
    }

    /// Notes whether an ejection is withheld. Returns a decision when that has changed.
    fn withhold(&mut self, suspicion: Option<Suspicion>, limit: Limit) -> Option<Decision> {
        let withheld = suspicion.is_some();
        if std::mem::replace(&mut self.withheld, withheld) == withheld {
            return None;
        }
        Some(match suspicion {
            Some(Suspicion { reason, detail }) => Decision::Withhold {
                reason,
                detail,
                limit,
            },
            None => Decision::Clear,
        })
    }

    /// Whether an ejection ends now.
    ///
    /// A check that passes ends the first one. If the target then fails as before, the
    /// check does not see what requests see (a port that is open, a page that is always
    /// there), and later ejections take their time unless the check has failed meanwhile.
    fn early_readmission(&mut self, view: &TargetView, now: Instant) -> Option<Readmission> {
        let ejected = self.ejected.as_mut()?;
        ejected.check_failed |= view.checked == Some(false);
        let trusts_check = ejected.check_failed || self.times == 1;
        if view.checked == Some(true) && trusts_check {
            Some(Readmission::CheckPassed)
        } else {
            (now >= ejected.until).then_some(Readmission::TimeOver)
        }
    }

    /// What the target has done lately; `None` for one that is not evaluated.
    fn activity(
        &mut self,
        view: &TargetView,
        interval: Duration,
        now: Instant,
    ) -> Option<Activity> {
        if self.is_ejected() {
            return None;
        }
        if self.times > 0 && now >= self.next_decay {
            self.times -= 1;
            self.next_decay = now + interval;
        }
        let lately = self.window.slide(view.failings.into(), now, interval);
        let activity = Activity {
            lately,
            spans_interval: self.window.spans(interval, now),
            failings: view.failings,
        };
        view.is_eligible().then_some(activity)
    }

    /// What its peers have done since the run of errors it is in was first seen; `None` outside
    /// of a run, and when a run is first seen.
    fn peers_since_run_start(&mut self, run: u32, peers: &Peers) -> Option<Tally> {
        if run == 0 {
            self.peers_at_run_start = None;
            return None;
        }
        let start = self.peers_at_run_start;
        self.peers_at_run_start = start.or(Some(peers.ever));
        start.map(|start| peers.ever.since(start))
    }

    /// Ejects the target. Returns for how long, and how many ejections count with this one.
    fn eject(&mut self, outlier: &Outlier, now: Instant) -> (Duration, u32) {
        // Beyond the longest time a higher count would only take longer to decay.
        if outlier.ejection.saturating_mul(self.times) < outlier.max_ejection {
            self.times = self.times.saturating_add(1);
        }
        let time = outlier
            .ejection
            .saturating_mul(self.times)
            .min(outlier.max_ejection);
        self.withheld = false;
        self.ejected = Some(Ejected {
            until: now + time,
            check_failed: false,
        });
        (time, self.times)
    }
}

/// What a target has done.
#[derive(Clone, Copy, Debug)]
struct Activity {
    /// In the last interval, or since it became eligible.
    lately: Tally,
    /// Whether `lately` covers a whole interval.
    spans_interval: bool,
    failings: Failings,
}

/// Why a target is to be ejected.
struct Suspicion {
    reason: EjectionReason,
    /// The reason with its numbers.
    detail: String,
}

/// What all targets of a group that are not ejected have done.
#[derive(Clone, Copy, Debug, Default)]
struct Peers {
    lately: Tally,
    /// The part of `lately` of targets that were there for a whole interval.
    interval: Tally,
    ever: Tally,
}

impl Peers {
    fn of(activity: &Activity) -> Self {
        Self {
            lately: activity.lately,
            interval: if activity.spans_interval {
                activity.lately
            } else {
                Tally::default()
            },
            ever: activity.failings.into(),
        }
    }

    fn with(self, other: Self) -> Self {
        Self {
            lately: self.lately.with(other.lately),
            interval: self.interval.with(other.interval),
            ever: self.ever.with(other.ever),
        }
    }

    fn without(self, part: Self) -> Self {
        Self {
            lately: self.lately.without(part.lately),
            interval: self.interval.without(part.interval),
            ever: self.ever.without(part.ever),
        }
    }
}

/// Evaluates all targets of a group; `histories` and `views` are in the same order.
///
/// Returns what happens to which target, by index: mostly nothing, and nothing twice. The caller
/// resets the runs of errors of the targets it readmits.
pub fn evaluate(
    histories: &mut [History],
    views: &[TargetView],
    rules: OutlierRules<'_>,
    now: Instant,
) -> Vec<(usize, Decision)> {
    let mut decisions = Vec::new();
    for (index, (history, view)) in histories.iter_mut().zip(views).enumerate() {
        let readmission = match rules.outlier {
            None => history.is_ejected().then_some(Readmission::SwitchedOff),
            Some(_) => history.early_readmission(view, now),
        };
        if let Some(why) = readmission {
            history.ejected = None;
            history.next_decay = now + rules.outlier.map_or(Duration::ZERO, |o| o.interval);
            history.begin_anew(view.failings, now);
            decisions.push((index, Decision::Readmit(why)));
        }
    }
    if let Some(outlier) = rules.outlier {
        let headroom = Headroom::of(histories, views, outlier, rules.min_healthy);
        eject_outliers(histories, views, outlier, headroom, now, &mut decisions);
    } else {
        for (index, history) in histories.iter_mut().enumerate() {
            if let Some(clear) = history.withhold(None, Limit::MaxEjected) {
                decisions.push((index, clear));
            }
        }
    }
    decisions
}

/// How many more targets may be ejected, and the setting which allows no more.
#[derive(Clone, Copy)]
struct Headroom {
    count: usize,
    limit: Limit,
}

impl Headroom {
    fn of(
        histories: &[History],
        views: &[TargetView],
        outlier: &Outlier,
        min_healthy: usize,
    ) -> Self {
        let (mut active, mut ejected, mut eligible) = (0_usize, 0, 0_usize);
        for (history, view) in histories.iter().zip(views) {
            active += usize::from(view.active);
            ejected += usize::from(view.active && history.is_ejected());
            eligible += usize::from(view.is_eligible() && !history.is_ejected());
        }
        let most = (active * usize::from(outlier.max_ejected) / 100).max(1);
        let by_share = most.saturating_sub(ejected);
        let by_health = eligible.saturating_sub(min_healthy.max(1));
        if by_health < by_share {
            Self {
                count: by_health,
                limit: Limit::MinHealthy,
            }
        } else {
            Self {
                count: by_share,
                limit: Limit::MaxEjected,
            }
        }
    }
}

/// Ejects the targets which do worse than their peers, as long as there is headroom.
fn eject_outliers(
    histories: &mut [History],
    views: &[TargetView],
    outlier: &Outlier,
    mut headroom: Headroom,
    now: Instant,
    decisions: &mut Vec<(usize, Decision)>,
) {
    let activities: Vec<Option<Activity>> = histories
        .iter_mut()
        .zip(views)
        .map(|(history, view)| history.activity(view, outlier.interval, now))
        .collect();
    let all = activities
        .iter()
        .flatten()
        .map(Peers::of)
        .fold(Peers::default(), Peers::with);
    for (index, (history, activity)) in histories.iter_mut().zip(activities).enumerate() {
        let Some(activity) = activity else { continue };
        let peers = all.without(Peers::of(&activity));
        let since = history.peers_since_run_start(activity.failings.run, &peers);
        let suspicion = if activity.lately.errors == 0 {
            None
        } else {
            since
                .and_then(|since| by_run(&activity, &peers, since, outlier))
                .or_else(|| by_ratio(&activity, &peers, outlier))
        };
        match suspicion {
            Some(Suspicion { reason, detail }) if headroom.count > 0 => {
                headroom.count -= 1;
                let (time, times) = history.eject(outlier, now);
                let eject = Decision::Eject {
                    reason,
                    detail,
                    time,
                    times,
                };
                decisions.push((index, eject));
            }
            suspicion => {
                let changed = history.withhold(suspicion, headroom.limit);
                decisions.extend(changed.map(|decision| (index, decision)));
            }
        }
    }
}

/// The run of errors that a target is to be ejected for. `since` is what its peers have done
/// since that run was first seen.
fn by_run(
    activity: &Activity,
    peers: &Peers,
    since: Tally,
    outlier: &Outlier,
) -> Option<Suspicion> {
    let Failings {
        run, gateway_run, ..
    } = activity.failings;
    let exceeds = |run: u32, limit: Option<u32>| {
        limit.is_some_and(|limit| run >= limit) && is_own_run(run, activity, peers, since)
    };
    if exceeds(gateway_run, outlier.consecutive_gateway_errors) {
        Some(Suspicion {
            reason: EjectionReason::ConsecutiveGatewayErrors,
            detail: format!("{gateway_run} gateway errors in a row"),
        })
    } else if exceeds(run, outlier.consecutive_errors) {
        Some(Suspicion {
            reason: EjectionReason::ConsecutiveErrors,
            detail: format!("{run} errors in a row"),
        })
    } else {
        None
    }
}

/// How many runs of errors chance alone may bring within an interval for one of them to
/// mean something.
const BY_CHANCE: f64 = 0.01;

/// Whether a run of errors is the target's own, and not one that its peers' errors explain.
///
/// If all fail alike, so many requests bring so many runs of this length. How often the
/// peers fail is taken from the time of the run, for a failure that all share and that has
/// just begun, and from the whole interval, for a service that has always had errors.
fn is_own_run(run: u32, activity: &Activity, peers: &Peers, since: Tally) -> bool {
    let requests = activity.lately.requests + peers.lately.requests + u64::from(run);
    let ratio = upper_ratio(since).max(peers.lately.ratio());
    requests as f64 * ratio.powf(f64::from(run)) < BY_CHANCE
}

/// The share of failed requests to expect at worst: two standard deviations more than was seen,
/// because a run of errors is evaluated by few requests of its peers. Peers without an error
/// get no such allowance: they do not share the failure, whatever it is.
fn upper_ratio(tally: Tally) -> f64 {
    let ratio = tally.expected_ratio();
    if tally.errors == 0 {
        return ratio;
    }
    let deviation = (ratio * (1.0 - ratio) / (tally.requests + 3) as f64).sqrt();
    (ratio + 2.0 * deviation).min(1.0)
}

/// The share of failed requests that a target is to be ejected for.
fn by_ratio(activity: &Activity, peers: &Peers, outlier: &Outlier) -> Option<Suspicion> {
    let limit = f64::from(outlier.error_ratio?);
    let (own, others) = (activity.lately, peers.interval);
    let enough = own.requests.min(others.requests) >= u64::from(outlier.min_requests.max(1));
    let worse = (own.ratio() - others.ratio()) * 100.0;
    (activity.spans_interval && enough && worse >= limit).then(|| Suspicion {
        reason: EjectionReason::ErrorRatio,
        detail: format!(
            "{} of {} requests failed, and {}% of its peers'",
            own.errors,
            own.requests,
            others.percent()
        ),
    })
}
