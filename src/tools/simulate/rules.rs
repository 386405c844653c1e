//! The rules by which a simulation scales.

use std::time::Duration;

use super::hpa::{self, Hpa};
use super::is_simulated;
use crate::autoscale::{Decision, Sample, Scaler};
use crate::config::{Autoscaling, Metric, Profile, Timing};

/// The rules by which the count of replicas follows the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalingRules {
    /// The group's policies with their own timings.
    Configured,
    /// The group's policies with the timings of a profile.
    Profile(Profile),
    /// The Horizontal Pod Autoscaler with the targets of the group's target tracking.
    Kubernetes,
}

/// What decides the count.
pub(super) enum Controller {
    Weir { scaler: Box<Scaler>, timing: Timing },
    Kubernetes { hpa: Hpa, max: u32 },
}

/// The decision of one second.
pub(super) struct RulesDecision {
    pub(super) desired: u32,
    /// The upper bound of this second.
    pub(super) max: u32,
    /// The calculation of the count, for messages.
    pub(super) why: String,
}

impl ScalingRules {
    /// The rules that are compared by default.
    pub const COMPARED: [Self; 4] = [
        Self::Profile(Profile::Fast),
        Self::Profile(Profile::AwsHighResolution),
        Self::Profile(Profile::Aws),
        Self::Kubernetes,
    ];

    /// The name on the command line and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Profile(profile) => profile.name(),
            Self::Kubernetes => "kubernetes",
        }
    }

    /// Whether these rules can follow the policy: Kubernetes has no step scaling.
    pub fn apply_to(self, policy: &Autoscaling) -> bool {
        match self {
            Self::Configured | Self::Profile(_) => true,
            Self::Kubernetes => policy
                .target_tracking
                .iter()
                .any(|target| is_simulated(&target.metric)),
        }
    }

    pub(super) fn controller(self, group: &str, policy: &Autoscaling) -> Controller {
        let mut policy = policy.clone();
        // A simulation must not write the files of a running Weir.
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
        Controller::Weir {
            timing: policy.timing,
            scaler: Box::new(Scaler::new(group, policy)),
        }
    }
}

fn kubernetes(policy: &Autoscaling) -> Controller {
    let targets = policy
        .target_tracking
        .iter()
        .map(|target| (target.metric.clone(), target.target));
    Controller::Kubernetes {
        hpa: Hpa::new(policy.min, policy.max, targets.collect()),
        max: policy.max,
    }
}

impl Controller {
    /// Time for which a new replica is not in the metric.
    pub(super) fn warm_up(&self) -> Duration {
        match self {
            Self::Weir { timing, .. } => timing.warm_up,
            Self::Kubernetes { .. } => Duration::from_secs(hpa::DELAY + hpa::WINDOW),
        }
    }

    /// The metrics that a sample must have.
    pub(super) fn metrics(&self) -> Vec<Metric> {
        match self {
            Self::Weir { scaler, .. } => scaler.metrics(),
            Self::Kubernetes { hpa, .. } => hpa.metrics().cloned().collect(),
        }
    }

    pub(super) fn decide(&mut self, sample: Sample) -> RulesDecision {
        match self {
            Self::Weir { scaler, .. } => {
                let decision = scaler.decide(sample, true);
                RulesDecision {
                    desired: decision.desired,
                    max: decision.max,
                    why: why(&decision),
                }
            }
            Self::Kubernetes { hpa, max } => {
                let second = sample.now.uptime.as_secs();
                let result = hpa.decide(second, sample.capacity, &sample.readings);
                RulesDecision {
                    desired: result.desired,
                    max: *max,
                    why: result.formula,
                }
            }
        }
    }
}

/// The policy that the decision follows, with its formula.
fn why(decision: &Decision) -> String {
    let followed = decision.results.iter().find(|result| {
        let bounded = result
            .wants
            .map(|wants| wants.clamp(decision.min, decision.max));
        bounded == Some(decision.desired)
    });
    match followed {
        Some(result) => format!("{}: {}", result.policy, result.formula),
        None => format!("between {} and {}", decision.min, decision.max),
    }
}
