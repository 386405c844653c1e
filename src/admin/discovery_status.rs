//! Where the targets of a group come from: names and files with their last answers, and the source
//! of each target.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::time::timestamp;
use crate::discovery::{Report, SourceReport};
use crate::model::{Endpoint, Registration};
use crate::replicas::GroupReplicas;
use crate::state::{Group, Source};

/// A name or a file that targets come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DiscoveryStatus {
    /// `dns`, `srv` or `file`.
    pub kind: String,
    /// The name, with its port where that is a part of it, or the path.
    pub name: String,
    /// The targets of the last answer, or of the last valid version of a file.
    pub targets: Vec<String>,
    /// When that came; `None` before the first.
    pub last_success: Option<Timestamp>,
    /// When it is looked up again; `None` while a lookup runs, and of a file, which is read when it
    /// changes.
    pub next_lookup: Option<Timestamp>,
    /// Why the last attempt has failed; `None` after one that did not.
    pub last_error: Option<String>,
    /// Attempts that have failed in a row: while there are some, the last targets stay.
    pub failures: u64,
    /// Attempts that have failed since the start.
    pub failures_total: u64,
}

impl DiscoveryStatus {
    /// `dns todo.example:6400`.
    pub(super) fn source(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    fn of((source, report): (Source, SourceReport)) -> Option<Self> {
        let (kind, name) = match source {
            // No part of this report.
            Source::Replicas => return None,
            Source::Dns(name, port) => ("dns", format!("{name}:{port}")),
            Source::Srv(name) => ("srv", name),
            Source::File(path) => ("file", path.display().to_string()),
        };
        Some(Self {
            kind: kind.to_owned(),
            name,
            targets: report.targets.iter().map(ToString::to_string).collect(),
            last_success: report.last_success.map(timestamp),
            next_lookup: report.next_lookup.map(timestamp),
            last_error: report.last_error,
            failures: report.failures,
            failures_total: report.failures_total,
        })
    }
}

/// Where each target of a group comes from.
pub(super) struct Sources {
    pub(super) discovery: Vec<DiscoveryStatus>,
    by_address: HashMap<String, String>,
}

impl Sources {
    pub(super) fn of(group: &Group, report: &Report, replicas: Option<&GroupReplicas>) -> Self {
        let found = report.of_group(&group.id).into_iter();
        let discovery: Vec<_> = found.filter_map(DiscoveryStatus::of).collect();
        let replicas = replicas.iter().flat_map(|group| &group.replicas);
        let replicas = replicas
            .filter_map(|replica| Some((replica.address?.to_string(), "replicas".to_owned())));
        // The first that lists an address counts, as for its weight.
        let listed = discovery.iter().flat_map(|one| {
            let source = one.source();
            one.targets
                .iter()
                .map(move |target| (target.clone(), source.clone()))
        });
        let fixed = group.config.static_targets();
        let fixed = fixed.map(|address| (address.to_string(), "static".to_owned()));
        let mut by_address: HashMap<_, _> = replicas.collect();
        by_address.extend(listed);
        by_address.extend(fixed);
        Self {
            discovery,
            by_address,
        }
    }

    /// `static`, `dns NAME`, `srv NAME`, `file PATH`, `replicas`, or `registered` at run time;
    /// `None` of a target that has left its group.
    pub(super) fn of_target(
        &self,
        address: &Endpoint,
        registration: Registration,
    ) -> Option<String> {
        if registration.is_leaving() {
            return None;
        }
        let known = self.by_address.get(&address.to_string()).cloned();
        Some(known.unwrap_or_else(|| "registered".to_owned()))
    }
}
