//! ECS tasks as replicas.
//!
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html>

use std::net::{IpAddr, SocketAddr};

use aws_sdk_ecs::types::{Attachment, Task};

use crate::replicas::ReplicaState;
use crate::replicas::replica_index::ListedReplica;

/// Tasks as replicas, in the order of their creation. One that has stopped is not listed.
pub(super) fn listed(mut tasks: Vec<Task>, port: u16) -> Vec<ListedReplica> {
    tasks.sort_by(|a, b| (a.created_at(), a.task_arn()).cmp(&(b.created_at(), b.task_arn())));
    tasks
        .iter()
        .filter_map(|task| replica(task, port))
        .collect()
}

fn replica(task: &Task, port: u16) -> Option<ListedReplica> {
    Some(ListedReplica {
        name: task.task_arn()?.to_owned(),
        address: address(task).map(|ip| SocketAddr::new(ip, port)),
        state: state(task)?,
        since: None,
    })
}

/// A task with another desired status than `RUNNING` stops now or soon: it gets no new requests.
fn state(task: &Task) -> Option<ReplicaState> {
    let is_wanted = task.desired_status() == Some("RUNNING");
    match task.last_status()? {
        "RUNNING" if is_wanted => Some(ReplicaState::Running),
        "RUNNING" | "DEACTIVATING" => Some(ReplicaState::Draining),
        "STOPPING" | "DEPROVISIONING" => Some(ReplicaState::Stopping),
        "STOPPED" | "DELETED" => None,
        // PROVISIONING, PENDING, ACTIVATING, and statuses of later versions of the API.
        _ if is_wanted => Some(ReplicaState::Starting),
        _ => Some(ReplicaState::Stopping),
    }
}

/// The private address of the task's own network interface, which a task has in the network mode
/// `awsvpc`.
fn address(task: &Task) -> Option<IpAddr> {
    let detail = |name: &str| {
        task.attachments()
            .iter()
            .filter(|attachment| attachment.r#type() == Some("ElasticNetworkInterface"))
            .flat_map(Attachment::details)
            .filter(|detail| detail.name() == Some(name))
            .find_map(|detail| detail.value()?.parse().ok())
    };
    detail("privateIPv4Address").or_else(|| detail("privateIPv6Address"))
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::primitives::DateTime;
    use aws_sdk_ecs::types::KeyValuePair;

    use super::*;

    fn task(arn: &str, last: &str, desired: &str) -> Task {
        let detail = |name: &str, value: &str| KeyValuePair::builder().name(name).value(value);
        let interface = Attachment::builder()
            .r#type("ElasticNetworkInterface")
            .details(detail("subnetId", "subnet-1").build())
            .details(detail("privateIPv4Address", "10.0.0.7").build());
        Task::builder()
            .task_arn(arn)
            .last_status(last)
            .desired_status(desired)
            .attachments(interface.build())
            .build()
    }

    #[test]
    fn both_statuses_decide_the_state_of_a_task() {
        use ReplicaState::{Draining, Running, Starting, Stopping};
        let cases = [
            ("PROVISIONING", "RUNNING", Some(Starting)),
            ("PENDING", "RUNNING", Some(Starting)),
            ("ACTIVATING", "RUNNING", Some(Starting)),
            ("RUNNING", "RUNNING", Some(Running)),
            ("RUNNING", "STOPPED", Some(Draining)),
            ("DEACTIVATING", "STOPPED", Some(Draining)),
            ("STOPPING", "STOPPED", Some(Stopping)),
            ("DEPROVISIONING", "STOPPED", Some(Stopping)),
            ("PENDING", "STOPPED", Some(Stopping)),
            ("STOPPED", "STOPPED", None),
            ("STOPPED", "RUNNING", None),
        ];
        for (last, desired, expected) in cases {
            let seen = listed(vec![task("a", last, desired)], 6400);
            let state = seen.first().map(|each| each.state);
            assert_eq!(state, expected, "{last}, {desired} wanted");
        }
    }

    #[test]
    fn a_task_has_the_address_of_its_own_interface() {
        let seen = listed(vec![task("a", "RUNNING", "RUNNING")], 6400);
        assert_eq!(seen[0].address, Some(([10, 0, 0, 7], 6400).into()));
        // Without `awsvpc`, or before the interface exists.
        let bare = Task::builder().task_arn("b").last_status("RUNNING");
        let seen = listed(vec![bare.desired_status("RUNNING").build()], 6400);
        assert_eq!(seen[0].address, None);
        let odd = Attachment::builder()
            .r#type("ElasticNetworkInterface")
            .details(
                KeyValuePair::builder()
                    .name("privateIPv4Address")
                    .value("x")
                    .build(),
            )
            .details(
                KeyValuePair::builder()
                    .name("privateIPv6Address")
                    .value("fd00::7")
                    .build(),
            );
        let six = Task::builder()
            .task_arn("c")
            .last_status("RUNNING")
            .attachments(odd.build());
        let seen = listed(vec![six.build()], 80);
        assert_eq!(
            seen[0]
                .address
                .map(|address| address.to_string())
                .as_deref(),
            Some("[fd00::7]:80")
        );
    }

    #[test]
    fn the_oldest_task_comes_first() {
        let created = |arn: &str, second| {
            let mut task = task(arn, "RUNNING", "RUNNING");
            task.created_at = Some(DateTime::from_secs(second));
            task
        };
        let seen = listed(vec![created("b", 9), created("c", 3), created("a", 9)], 80);
        let names: Vec<_> = seen.iter().map(|task| task.name.as_str()).collect();
        assert_eq!(names, ["c", "a", "b"]);
        assert!(listed(vec![Task::builder().build()], 80).is_empty());
    }
}
