//! By which rules a simulation scales.

use std::time::Duration;

use super::hpa::{self, Hpa};
use super::is_simulated;
use crate::autoscale::{Decision, Sample, Scaler};
use crate::config::{Autoscaling, Metric, Profile, Timing};

/// By which rules the number of replicas follows the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// The group's own, timings included.
    Configured,
    /// The group's own, with the timings of a profile.
    Profile(Profile),
    /// The Horizontal Pod Autoscaler's, for the group's target tracking.
    Kubernetes,
}

/// Who decides.
pub(super) enum Engine {
    Weir(Box<Scaler>, Timing),
    Kubernetes(Hpa, u32),
}

/// What was decided at a second.
pub(super) struct Verdict {
    pub(super) desired: u32,
    /// The bound that holds.
    pub(super) max: u32,
    /// From what the number came, or what kept it: for people.
    pub(super) why: String,
}

impl Rules {
    /// What is compared unless something else is asked for.
    pub const COMPARED: [Self; 4] = [
        Self::Profile(Profile::Fast),
        Self::Profile(Profile::AwsHighResolution),
        Self::Profile(Profile::Aws),
        Self::Kubernetes,
    ];

    /// The word on the command line and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Profile(profile) => profile.name(),
            Self::Kubernetes => "kubernetes",
        }
    }

    /// Whether these rules have something to go by: Kubernetes knows no steps.
    pub fn apply_to(self, policy: &Autoscaling) -> bool {
        let mut targets = policy.target_tracking.iter();
        match self {
            Self::Configured | Self::Profile(_) => true,
            Self::Kubernetes => targets.any(|target| is_simulated(&target.metric)),
        }
    }

    pub(super) fn engine(self, group: &str, policy: &Autoscaling) -> Engine {
        let mut policy = policy.clone();
        // A simulation leaves the files of the running Weir alone.
        policy.record = None;
        if let Some(predictive) = &mut policy.predictive {
            predictive.history = None;
        }
        match self {
            Self::Configured => {}
            Self::Profile(profile) => {
                policy.profile = profile;
                policy.timing = Timing::of(profile);
            }
            Self::Kubernetes => return kubernetes(&policy),
        }
        let timing = policy.timing;
        Engine::Weir(Box::new(Scaler::new(group, policy)), timing)
    }
}

fn kubernetes(policy: &Autoscaling) -> Engine {
    let targets = policy.target_tracking.iter();
    let targets = targets.map(|target| (target.metric.clone(), target.target));
    let hpa = Hpa::new(policy.min, policy.max, targets.collect());
    Engine::Kubernetes(hpa, policy.max)
}

impl Engine {
    /// How long a new replica stays out of the metric.
    pub(super) fn warm_up(&self) -> Duration {
        match self {
            Self::Weir(_, timing) => timing.warm_up,
            Self::Kubernetes(..) => Duration::from_secs(hpa::DELAY + hpa::WINDOW),
        }
    }

    /// What a sample must have.
    pub(super) fn metrics(&self) -> Vec<Metric> {
        match self {
            Self::Weir(scaler, _) => scaler.metrics(),
            Self::Kubernetes(hpa, _) => hpa.metrics().cloned().collect(),
        }
    }

    pub(super) fn decide(&mut self, sample: Sample) -> Verdict {
        match self {
            Self::Weir(scaler, _) => {
                let decision = scaler.decide(sample, true);
                Verdict {
                    desired: decision.desired,
                    max: decision.max,
                    why: why(&decision),
                }
            }
            Self::Kubernetes(hpa, max) => {
                let second = sample.now.uptime.as_secs();
                let verdict = hpa.decide(second, sample.capacity, &sample.readings);
                Verdict {
                    desired: verdict.desired,
                    max: *max,
                    why: verdict.formula,
                }
            }
        }
    }
}

/// The policy whose wish was followed, with its formula.
fn why(decision: &Decision) -> String {
    let wish = |wants: Option<u32>| wants.map(|wants| wants.clamp(decision.min, decision.max));
    let mut opinions = decision.opinions.iter();
    let followed = opinions.find(|opinion| wish(opinion.wants) == Some(decision.desired));
    match followed {
        Some(opinion) => format!("{}: {}", opinion.policy, opinion.formula),
        None => format!("between {} and {}", decision.min, decision.max),
    }
}
