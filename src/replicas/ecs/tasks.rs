//! ECS tasks as replicas.
//!
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html>

use std::net::{IpAddr, SocketAddr};

use aws_sdk_ecs::types::{Attachment, Task};

use crate::replicas::ReplicaState;
use crate::replicas::census::Sighting;

/// Tasks in the order in which they were created. One that has stopped is none.
pub(super) fn sightings(mut tasks: Vec<Task>, port: u16) -> Vec<Sighting> {
    tasks.sort_by(|a, b| (a.created_at(), a.task_arn()).cmp(&(b.created_at(), b.task_arn())));
    tasks
        .iter()
        .filter_map(|task| sighting(task, port))
        .collect()
}

fn sighting(task: &Task, port: u16) -> Option<Sighting> {
    Some(Sighting {
        name: task.task_arn()?.to_owned(),
        address: address(task).map(|ip| SocketAddr::new(ip, port)),
        state: state(task)?,
    })
}

/// A task whose desired status is not `RUNNING` any more has been told to stop, or is about
/// to be: it gets no new requests.
fn state(task: &Task) -> Option<ReplicaState> {
    let is_wanted = task.desired_status() == Some("RUNNING");
    match task.last_status()? {
        "RUNNING" if is_wanted => Some(ReplicaState::Running),
        "RUNNING" | "DEACTIVATING" => Some(ReplicaState::Draining),
        "STOPPING" | "DEPROVISIONING" => Some(ReplicaState::Stopping),
        "STOPPED" | "DELETED" => None,
        // PROVISIONING, PENDING, ACTIVATING, and what AWS may think of next.
        _ if is_wanted => Some(ReplicaState::Starting),
        _ => Some(ReplicaState::Stopping),
    }
}

/// The private address of the task's own network interface, which it has in the `awsvpc`
/// network mode.
fn address(task: &Task) -> Option<IpAddr> {
    let interfaces = task
        .attachments()
        .iter()
        .filter(|each| each.r#type() == Some("ElasticNetworkInterface"));
    let details = interfaces.flat_map(Attachment::details);
    let named = |name: &str| {
        let mut found = details.clone().filter(|each| each.name() == Some(name));
        found.find_map(|each| each.value()?.parse().ok())
    };
    named("privateIPv4Address").or_else(|| named("privateIPv6Address"))
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
    fn both_statuses_say_where_a_task_is_in_its_life() {
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
            let seen = sightings(vec![task("a", last, desired)], 6400);
            let state = seen.first().map(|each| each.state);
            assert_eq!(state, expected, "{last}, {desired} wanted");
        }
    }

    #[test]
    fn a_task_answers_at_the_address_of_its_own_interface() {
        let seen = sightings(vec![task("a", "RUNNING", "RUNNING")], 6400);
        assert_eq!(seen[0].address, Some(([10, 0, 0, 7], 6400).into()));
        // Without `awsvpc`, or before the interface is there.
        let bare = Task::builder().task_arn("b").last_status("RUNNING");
        let seen = sightings(vec![bare.desired_status("RUNNING").build()], 6400);
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
        let seen = sightings(vec![six.build()], 80);
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
        let born = |arn: &str, second| {
            let mut task = task(arn, "RUNNING", "RUNNING");
            task.created_at = Some(DateTime::from_secs(second));
            task
        };
        let seen = sightings(vec![born("b", 9), born("c", 3), born("a", 9)], 80);
        let names: Vec<_> = seen.iter().map(|task| task.name.as_str()).collect();
        assert_eq!(names, ["c", "a", "b"]);
        assert!(sightings(vec![Task::builder().build()], 80).is_empty());
    }
}
