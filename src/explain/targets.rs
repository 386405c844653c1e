//! The targets of a group: which are eligible, and why others are not.

use serde::{Deserialize, Serialize};

use crate::config::{self, TargetAddress};
use crate::model::{Endpoint, Health, Registration};
use crate::target::WHOLE_SHARE;
use crate::target_group::{Registered, TargetGroup};

/// A target, and whether it may get the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetAnswer {
    /// Its address.
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
