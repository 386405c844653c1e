//! The targets of a group: which are eligible, and why others are not.

use serde::{Deserialize, Serialize};

use crate::config::{self, TargetAddress};
use crate::model::{Endpoint, Health, Registration};
use crate::target::WHOLE_SHARE;
use crate::target_group::{Registered, TargetGroup};

/// A target, and whether it may get the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TargetAnswer {
    /// Its address.
    #[cfg_attr(test, schemars(with = "String"))]
    pub address: Endpoint,
    /// Whether it may be picked.
    pub eligible: bool,
    /// 0-999; 0 gets no new requests.
    pub weight: u16,
    /// `initial`, `healthy` or `unhealthy`; `healthy` without checks, `unknown` to a file.
    pub state: String,
    /// Why it is not eligible, or what else is to be known.
    pub because: Option<String>,
}

/// The targets of a group, whose health is checked or not; of a file it is not known.
pub(super) fn targets(group: &TargetGroup, checked: bool, is_live: bool) -> Vec<TargetAnswer> {
    let members = group.selection.iter().flat_map(|one| one.roster.members());
    let eligible: Vec<_> = members.map(|member| member.target.serial).collect();
    let answer = |registered: &Registered| {
        let target = &registered.target;
        let health = if checked {
            target.health().now()
        } else {
            Health::Healthy
        };
        let eligible = eligible.contains(&target.serial);
        TargetAnswer {
            address: target.id.addr.clone(),
            eligible,
            weight: registered.weight,
            state: if is_live { health.name() } else { "unknown" }.to_owned(),
            because: because(registered, health, eligible),
        }
    };
    group.targets.iter().map(answer).collect()
}

fn because(registered: &Registered, health: Health, eligible: bool) -> Option<String> {
    let record = registered.target.health().lock().clone();
    if let Registration::Draining(draining) = registered.registration {
        return Some(format!("it drains ({})", draining.reason.code()));
    }
    if registered.weight == 0 {
        return Some("its weight is 0".to_owned());
    }
    let unfit = match health {
        Health::Healthy => record
            .ejection
            .map(|one| format!("it is ejected: {}", one.detail)),
        Health::Initial => Some("no check of it has finished".to_owned()),
        Health::Unhealthy => Some(match record.reason {
            Some(reason) => format!("its checks fail ({reason})"),
            None => "its checks fail".to_owned(),
        }),
    };
    match (unfit, eligible) {
        (Some(unfit), true) => Some(format!("{unfit}, but too few others are left")),
        (None, true) => {
            let share = registered.target.share().get();
            let is_less = share < WHOLE_SHARE;
            is_less.then(|| "it gets fewer requests than its share: see `weir status`".to_owned())
        }
        (unfit, false) => unfit,
    }
}

/// Where targets come from that are no part of the file.
pub(super) fn found_at_run_time(config: &config::TargetGroup) -> Vec<String> {
    let listed = config
        .targets
        .iter()
        .filter_map(|spec| match &spec.address {
            TargetAddress::Socket(_) => None,
            TargetAddress::Host { name, port } => {
                Some(format!("the addresses of {name}, port {port}"))
            }
            TargetAddress::Srv { name } => Some(format!("the service records of {name}")),
            TargetAddress::File { path, .. } => Some(format!("the file {}", path.display())),
        });
    let replicas = config.replicas.iter().map(|_| "its replicas".to_owned());
    listed.chain(replicas).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Instant, SystemTime};

    use super::*;
    use crate::model::fixture::{ONCE, check_result};
    use crate::model::{DrainReason, Draining, Ejection, EjectionReason, TargetGroupId, TargetId};
    use crate::target::Target;
    use crate::target_group::Live;

    /// A target with the result of a check.
    fn target(port: u16, passed: Option<bool>) -> Registered {
        let target = Target::new(TargetId {
            group: TargetGroupId::from("todo"),
            addr: ([10, 0, 0, 1], port).into(),
        });
        if let Some(passed) = passed {
            let result = check_result(passed, Instant::now());
            target.health().lock().record(result, ONCE);
        }
        Registered {
            target: Arc::new(target),
            weight: 1,
            registration: Registration::Active,
        }
    }

    fn answers(registered: Vec<Registered>) -> Vec<TargetAnswer> {
        let text = "[[listener]]\nbind = \"127.0.0.1:0\"\nforward = \"todo\"\n\
                    [target_group.todo]\ntargets = [\"10.0.0.1:1\"]\n";
        let parsed = config::parse("weir.toml", text, &|_| None).unwrap();
        let group = crate::state::compile_group(
            &parsed.config.target_groups[0],
            registered.into(),
            Arc::default(),
            Live::new(Instant::now()),
            &config::CookieKey([0; 32]),
            0,
            Instant::now(),
        );
        targets(&group, true, true)
    }

    #[test]
    fn each_target_of_a_running_weir_says_why_it_gets_no_requests() {
        let mut all = vec![
            target(1, Some(true)),
            target(2, Some(false)),
            target(3, None),
            target(4, Some(true)),
            target(5, Some(true)),
            target(6, Some(true)),
        ];
        all[3].weight = 0;
        all[4].registration = Registration::Draining(Draining {
            reason: DrainReason::Requested,
            since: Instant::now(),
            until: None,
        });
        all[5].target.health().lock().ejection = Some(Ejection {
            reason: EjectionReason::ErrorRatio,
            detail: "9 of 10 requests failed".to_owned(),
            began: Instant::now(),
            since: SystemTime::UNIX_EPOCH,
            until: SystemTime::UNIX_EPOCH,
            times: 1,
        });
        let expected = [
            (true, "healthy", None),
            (false, "unhealthy", Some("its checks fail (")),
            (false, "initial", Some("no check of it has finished")),
            (false, "healthy", Some("its weight is 0")),
            (false, "healthy", Some("it drains (Target.DrainRequested)")),
            (
                false,
                "healthy",
                Some("it is ejected: 9 of 10 requests failed"),
            ),
        ];
        for (answer, (eligible, state, because)) in answers(all).iter().zip(expected) {
            assert_eq!((answer.eligible, answer.state.as_str()), (eligible, state));
            let said = answer.because.as_deref().unwrap_or_default();
            assert!(said.starts_with(because.unwrap_or_default()), "{answer:?}");
            assert_eq!(answer.because.is_some(), because.is_some(), "{answer:?}");
        }
    }

    #[test]
    fn a_group_that_fails_open_says_so_of_its_targets() {
        for answer in answers(vec![target(1, Some(false)), target(2, Some(false))]) {
            assert!(answer.eligible, "{answer:?}");
            let said = answer.because.unwrap_or_default();
            assert!(said.ends_with("but too few others are left"), "{said}");
        }
    }
}
