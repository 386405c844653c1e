//! Passive checks: which targets of a group are ejected for the requests they fail.
//!
//! Pure: what the counters say and what time it is are arguments. A target is compared
//! with its peers before it is ejected, because a failure that all share (a bug, a lost
//! database) is no reason to take anybody out. Unlike a statistic over many targets this
//! works from two.
//!
//! How many may be out at once is decided here too; what becomes of a group that has too
//! few left is decided in `target_group`.

use std::time::{Duration, Instant};

use super::tally::{Tally, Window};
use crate::model::{EjectionReason, Failings, Outlier};

/// The rules of a group.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// `None` ejects nobody, and readmits who is out.
    pub outlier: Option<&'a Outlier>,
    /// Targets that stay eligible, whatever they do.
    pub min_healthy: usize,
}

/// What is seen of a target at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// Its counters.
    pub failings: Failings,
    /// Whether it is wanted: active, with a weight.
    pub active: bool,
    /// Whether its checks pass, or nobody checks.
    pub healthy: bool,
    /// Whether the last check that started after its ejection passed.
    pub checked: Option<bool>,
}

impl Sight {
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
        /// The reason with its numbers, for people.
        detail: String,
        /// How long.
        time: Duration,
        /// The how-manieth time.
        times: u32,
    },
    /// It gets requests again.
    Readmit(Readmission),
    /// It would be ejected, and too many are out already.
    Withhold {
        /// The class of the reason.
        reason: EjectionReason,
        /// The reason with its numbers, for people.
        detail: String,
        /// The setting that allows no more.
        limit: Limit,
    },
    /// It is no longer to be ejected.
    Acquit,
}

/// What bounds how many targets are out at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`Outlier::max_ejected`].
    MaxEjected,
    /// [`Rules::min_healthy`].
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

/// Why an ejected target is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readmission {
    /// The ejection ended.
    TimeOver,
    /// A check that started after the ejection passed.
    CheckPassed,
    /// The configuration ejects nobody any longer.
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

/// What is remembered of a target.
#[derive(Clone, Debug)]
pub struct History {
    window: Window,
    /// What its peers had done when it was first seen in a run of errors.
    suspected: Option<Tally>,
    ejected: Option<Ejected>,
    /// Whether there was no room to eject it when it was last judged.
    withheld: bool,
    /// How often it was ejected; less with every interval that it stays in.
    times: u32,
    /// When `times` is lowered next.
    better: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Ejected {
    until: Instant,
    /// Whether a check has failed since: then one that passes says something.
    noticed: bool,
}

impl History {
    /// A target that is seen for the first time.
    pub fn new(failings: Failings, now: Instant) -> Self {
        Self {
            window: Window::new(failings.into(), now),
            suspected: None,
            ejected: None,
            withheld: false,
            times: 0,
            better: now,
        }
    }

    /// Whether it is out.
    pub fn is_ejected(&self) -> bool {
        self.ejected.is_some()
    }

    /// Judges the target by what it does from now on. The caller does the same to its
    /// runs of errors.
    pub fn begin_anew(&mut self, failings: Failings, now: Instant) {
        self.window = Window::new(failings.into(), now);
        self.suspected = None;
    }

    /// Notes what would be done to the target if there were room, and says so when that
    /// has changed.
    fn withhold(
        &mut self,
        suspicion: Option<(EjectionReason, String)>,
        limit: Limit,
    ) -> Option<Decision> {
        let withheld = suspicion.is_some();
        if std::mem::replace(&mut self.withheld, withheld) == withheld {
            return None;
        }
        Some(match suspicion {
            Some((reason, detail)) => Decision::Withhold {
                reason,
                detail,
                limit,
            },
            None => Decision::Acquit,
        })
    }

    /// Whether an ejection ends now.
    ///
    /// A check that passes ends the first one. If the target then fails as before, the
    /// check does not see what requests see (a port that is open, a page that is always
    /// there), and later ejections take their time unless the check has failed meanwhile.
    fn parole(&mut self, sight: &Sight, now: Instant) -> Option<Readmission> {
        let ejected = self.ejected.as_mut()?;
        ejected.noticed |= sight.checked == Some(false);
        let believed = ejected.noticed || self.times == 1;
        if sight.checked == Some(true) && believed {
            Some(Readmission::CheckPassed)
        } else {
            (now >= ejected.until).then_some(Readmission::TimeOver)
        }
    }

    /// What the target has done lately; `None` for one that is not to be judged.
    fn look(&mut self, sight: &Sight, interval: Duration, now: Instant) -> Option<Doing> {
        if self.is_ejected() {
            return None;
        }
        if self.times > 0 && now >= self.better {
            self.times -= 1;
            self.better = now + interval;
        }
        let lately = self.window.slide(sight.failings.into(), now, interval);
        let doing = Doing {
            lately,
            spans_interval: self.window.spans(interval, now),
            failings: sight.failings,
        };
        sight.is_eligible().then_some(doing)
    }

    /// What its peers have done since it was first seen in the run of errors it is in;
    /// `None` outside a run, and when it is first seen in one.
    fn compare(&mut self, run: u32, peers: &Peers) -> Option<Tally> {
        if run == 0 {
            self.suspected = None;
            return None;
        }
        let known = self.suspected.is_some();
        let since = peers.ever.since(*self.suspected.get_or_insert(peers.ever));
        known.then_some(since)
    }

    /// Takes the target out; says for how long, and the how-manieth time this is.
    fn eject(&mut self, outlier: &Outlier, now: Instant) -> (Duration, u32) {
        // Beyond the longest time the count would only take longer to be forgotten.
        if outlier.ejection.saturating_mul(self.times) < outlier.max_ejection {
            self.times = self.times.saturating_add(1);
        }
        let time = outlier.ejection.saturating_mul(self.times);
        let time = time.min(outlier.max_ejection);
        self.withheld = false;
        self.ejected = Some(Ejected {
            until: now + time,
            noticed: false,
        });
        (time, self.times)
    }
}

/// What a target does.
#[derive(Clone, Copy, Debug)]
struct Doing {
    /// In the last interval, or since it was let in.
    lately: Tally,
    /// Whether that is an interval.
    spans_interval: bool,
    failings: Failings,
}

/// The same of all targets of a group that are not ejected.
#[derive(Clone, Copy, Debug, Default)]
struct Peers {
    lately: Tally,
    /// Of those whose `lately` spans an interval.
    interval: Tally,
    ever: Tally,
}

impl Peers {
    fn of(doing: &Doing) -> Self {
        let nothing = Tally::default();
        Self {
            lately: doing.lately,
            interval: if doing.spans_interval {
                doing.lately
            } else {
                nothing
            },
            ever: doing.failings.into(),
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

/// Looks at all targets of a group; `histories` and `sights` stand in the same order.
/// Says what happens to which of them: mostly nothing, and nothing twice. The caller lets
/// the runs of errors of those it readmits begin anew.
pub fn judge(
    histories: &mut [History],
    sights: &[Sight],
    rules: Rules<'_>,
    now: Instant,
) -> Vec<(usize, Decision)> {
    let mut decisions = Vec::new();
    for (index, (history, sight)) in histories.iter_mut().zip(sights).enumerate() {
        let back = match rules.outlier {
            None => history.is_ejected().then_some(Readmission::SwitchedOff),
            Some(_) => history.parole(sight, now),
        };
        if let Some(why) = back {
            history.ejected = None;
            history.better = now + rules.outlier.map_or(Duration::ZERO, |o| o.interval);
            history.begin_anew(sight.failings, now);
            decisions.push((index, Decision::Readmit(why)));
        }
    }
    if let Some(outlier) = rules.outlier {
        let room = room(histories, sights, outlier, rules.min_healthy);
        convict(histories, sights, outlier, room, now, &mut decisions);
    } else {
        let acquitted = histories
            .iter_mut()
            .enumerate()
            .filter_map(|(index, history)| {
                let acquit = history.withhold(None, Limit::MaxEjected)?;
                Some((index, acquit))
            });
        decisions.extend(acquitted);
    }
    decisions
}

/// How many more targets may be ejected, and what allows no more.
fn room(
    histories: &[History],
    sights: &[Sight],
    outlier: &Outlier,
    min_healthy: usize,
) -> (usize, Limit) {
    let (mut active, mut out, mut sound) = (0_usize, 0, 0_usize);
    for (history, sight) in histories.iter().zip(sights) {
        active += usize::from(sight.active);
        out += usize::from(sight.active && history.is_ejected());
        sound += usize::from(sight.is_eligible() && !history.is_ejected());
    }
    let most = (active * usize::from(outlier.max_ejected) / 100).max(1);
    let by_share = (most.saturating_sub(out), Limit::MaxEjected);
    let by_health = (sound.saturating_sub(min_healthy.max(1)), Limit::MinHealthy);
    if by_health.0 < by_share.0 {
        by_health
    } else {
        by_share
    }
}

/// Ejects who does worse than its peers, as long as there is room.
fn convict(
    histories: &mut [History],
    sights: &[Sight],
    outlier: &Outlier,
    (mut room, limit): (usize, Limit),
    now: Instant,
    decisions: &mut Vec<(usize, Decision)>,
) {
    let look =
        |(history, sight): (&mut History, &Sight)| history.look(sight, outlier.interval, now);
    let doings: Vec<Option<Doing>> = histories.iter_mut().zip(sights).map(look).collect();
    let all = doings.iter().flatten().map(Peers::of);
    let all = all.fold(Peers::default(), Peers::with);
    for (index, (history, doing)) in histories.iter_mut().zip(doings).enumerate() {
        let Some(doing) = doing else { continue };
        let peers = all.without(Peers::of(&doing));
        let since = history.compare(doing.failings.run, &peers);
        let suspicion = if doing.lately.errors == 0 {
            None
        } else {
            since
                .and_then(|since| in_a_row(&doing, &peers, since, outlier))
                .or_else(|| by_ratio(&doing, &peers, outlier))
        };
        if room == 0 || suspicion.is_none() {
            let changed = history.withhold(suspicion, limit);
            decisions.extend(changed.map(|decision| (index, decision)));
            continue;
        }
        if let Some((reason, detail)) = suspicion {
            room -= 1;
            let (time, times) = history.eject(outlier, now);
            let eject = Decision::Eject {
                reason,
                detail,
                time,
                times,
            };
            decisions.push((index, eject));
        }
    }
}

/// The run of errors that a target is to be ejected for. `since` is what its peers have
/// done since it was first seen in that run.
fn in_a_row(
    doing: &Doing,
    peers: &Peers,
    since: Tally,
    outlier: &Outlier,
) -> Option<(EjectionReason, String)> {
    use EjectionReason::{ConsecutiveErrors, ConsecutiveGatewayErrors};
    let Failings {
        run, gateway_run, ..
    } = doing.failings;
    let its_own = |run: u32, limit: Option<u32>| {
        limit.is_some_and(|limit| run >= limit) && is_its_own(run, doing, peers, since)
    };
    if its_own(gateway_run, outlier.consecutive_gateway_errors) {
        let detail = format!("{gateway_run} gateway errors in a row");
        Some((ConsecutiveGatewayErrors, detail))
    } else if its_own(run, outlier.consecutive_errors) {
        Some((ConsecutiveErrors, format!("{run} errors in a row")))
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
fn is_its_own(run: u32, doing: &Doing, peers: &Peers, since: Tally) -> bool {
    let requests = doing.lately.requests + peers.lately.requests + u64::from(run);
    let ratio = at_worst(since).max(peers.lately.ratio());
    requests as f64 * ratio.powf(f64::from(run)) < BY_CHANCE
}

/// The share of failed requests to reckon with: two standard deviations more than was seen,
/// because a run of errors is judged by few requests of its peers. Peers without an error
/// get no such allowance: they do not share whatever it is.
fn at_worst(tally: Tally) -> f64 {
    let ratio = tally.expected_ratio();
    if tally.errors == 0 {
        return ratio;
    }
    let deviation = (ratio * (1.0 - ratio) / (tally.requests + 3) as f64).sqrt();
    (ratio + 2.0 * deviation).min(1.0)
}

/// The share of failed requests that a target is to be ejected for.
fn by_ratio(doing: &Doing, peers: &Peers, outlier: &Outlier) -> Option<(EjectionReason, String)> {
    let limit = f64::from(outlier.error_ratio?);
    let (own, others) = (doing.lately, peers.interval);
    let enough = own.requests.min(others.requests) >= u64::from(outlier.min_requests.max(1));
    let worse = (own.ratio() - others.ratio()) * 100.0;
    (doing.spans_interval && enough && worse >= limit).then(|| {
        let detail = format!(
            "{} of {} requests failed, and {}% of its peers'",
            own.errors,
            own.requests,
            others.percent()
        );
        (EjectionReason::ErrorRatio, detail)
    })
}
