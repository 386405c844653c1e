//! `EndpointSlices` as replicas.
//!
//! <https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/>

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};

use crate::replicas::ReplicaState;
use crate::replicas::replica_index::ListedReplica;

/// The pods behind a service, by name. A pod without an address is in no slice.
///
/// A pod that is in several slices, as in the moment when it moves from one to another, has the
/// most pessimistic state of them. One with addresses of both families has its IPv4 address.
pub(super) fn listed(slices: &[EndpointSlice], port: u16) -> Vec<ListedReplica> {
    let mut pods: BTreeMap<String, ListedReplica> = BTreeMap::new();
    let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter());
    for pod in endpoints.flatten().filter_map(|each| replica(each, port)) {
        match pods.get_mut(&pod.name) {
            Some(known) => merge(known, &pod),
            None => drop(pods.insert(pod.name.clone(), pod)),
        }
    }
    pods.into_values().collect()
}

/// `None` without an IP address, as in a slice of the type `FQDN`.
fn replica(endpoint: &Endpoint, port: u16) -> Option<ListedReplica> {
    // "Consumers should only use the first address" (API reference of Endpoint).
    let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    let pod = endpoint.target_ref.as_ref();
    let name = pod.and_then(|pod| pod.name.clone());
    Some(ListedReplica {
        name: name.unwrap_or_else(|| ip.to_string()),
        address: Some(SocketAddr::new(ip, port)),
        state: state(endpoint.conditions.as_ref()),
        since: None,
    })
}

/// A condition that is left out is `true` for `ready` and `false` for `terminating`. A pod that
/// terminates may go on serving the requests that it has.
fn state(conditions: Option<&EndpointConditions>) -> ReplicaState {
    let is_ready = conditions.and_then(|all| all.ready).unwrap_or(true);
    let is_terminating = conditions.and_then(|all| all.terminating).unwrap_or(false);
    match (is_terminating, is_ready) {
        (true, _) => ReplicaState::Draining,
        (false, true) => ReplicaState::Running,
        (false, false) => ReplicaState::Starting,
    }
}

fn merge(known: &mut ListedReplica, other: &ListedReplica) {
    let rank = |state: ReplicaState| match state {
        ReplicaState::Running => 2,
        ReplicaState::Starting => 1,
        ReplicaState::Draining | ReplicaState::Stopping => 0,
    };
    if rank(other.state) < rank(known.state) {
        known.state = other.state;
    }
    if other.address.is_some_and(|address| address.is_ipv4()) {
        known.address = other.address;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(endpoints: &Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "addressType": "IPv4",
            "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn pod(name: &str, address: &str, conditions: &Value) -> Value {
        json!({
            "addresses": [address],
            "conditions": conditions,
            "targetRef": {"kind": "Pod", "name": name},
        })
    }

    #[test]
    fn conditions_decide_the_state_of_a_pod() {
        use ReplicaState::{Draining, Running, Starting};
        let cases = [
            (json!({}), Running),
            (json!({"ready": true}), Running),
            (
                json!({"ready": false, "serving": false, "terminating": false}),
                Starting,
            ),
            (json!({"ready": false}), Starting),
            (
                json!({"ready": false, "serving": true, "terminating": true}),
                Draining,
            ),
            // A service that publishes addresses that are not ready.
            (json!({"ready": true, "terminating": true}), Draining),
        ];
        for (conditions, expected) in cases {
            let slice = slice(&json!([pod("a", "10.0.0.1", &conditions)]));
            let seen = listed(&[slice], 6400);
            assert_eq!(seen.len(), 1);
            assert_eq!(seen[0].state, expected, "{conditions}");
            assert_eq!(seen[0].address, Some(([10, 0, 0, 1], 6400).into()));
        }
    }

    #[test]
    fn a_pod_in_several_slices_is_one_replica() {
        let ready = json!({"ready": true});
        let leaving = json!({"ready": false, "terminating": true});
        let slices = [
            slice(&json!([
                pod("b", "fd00::2", &ready),
                pod("a", "10.0.0.1", &ready)
            ])),
            slice(&json!([
                pod("b", "10.0.0.2", &ready),
                pod("a", "10.0.0.1", &leaving)
            ])),
        ];
        let seen = listed(&slices, 80);
        let names: Vec<_> = seen.iter().map(|pod| pod.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(seen[0].state, ReplicaState::Draining);
        assert_eq!(seen[1].address, Some(([10, 0, 0, 2], 80).into()));
    }

    #[test]
    fn an_endpoint_needs_an_address_and_without_a_pod_is_named_by_it() {
        let slices = [
            slice(&json!([{"addresses": ["db.example.com"]}, {"addresses": []}])),
            slice(&json!([{"addresses": ["10.0.0.9"]}])),
            slice(&Value::Null),
        ];
        let seen = listed(&slices, 80);
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].name, "10.0.0.9");
    }
}
