//! Checks requests by the reference of the API.

use std::collections::BTreeMap;

use http::Method;
use http::request::Parts;
use serde_json::Value;

use super::schema::check;
use super::server::{NAMESPACE, SELECTOR, SERVICE};

/// A request in the words of a Role.
pub(super) struct ApiRequest {
    pub(super) verb: &'static str,
    pub(super) group: &'static str,
    pub(super) resource: &'static str,
    pub(super) name: String,
}

/// Parses a request. Fails with what is wrong.
pub(super) fn parse(
    method: &Method,
    path: &str,
    query: &BTreeMap<String, String>,
) -> Result<ApiRequest, String> {
    let (group, resource, name) = resource(path).ok_or("no such path")?;
    let is_watch = query.contains_key("watch");
    let verb = verb(method, name, is_watch).ok_or("no such method there")?;
    Ok(ApiRequest {
        verb,
        group,
        resource,
        name: name.to_owned(),
    })
}

/// The group, resource and name in a path.
fn resource(path: &str) -> Option<(&'static str, &'static str, &str)> {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    Some(match parts[..] {
        [
            "apis",
            "apps",
            "v1",
            "namespaces",
            NAMESPACE,
            "deployments",
            name,
            "scale",
        ] => ("apps", "deployments/scale", name),
        [
            "apis",
            "discovery.k8s.io",
            "v1",
            "namespaces",
            NAMESPACE,
            "endpointslices",
        ] => ("discovery.k8s.io", "endpointslices", ""),
        [
            "apis",
            "coordination.k8s.io",
            "v1",
            "namespaces",
            NAMESPACE,
            "leases",
        ] => ("coordination.k8s.io", "leases", ""),
        [
            "apis",
            "coordination.k8s.io",
            "v1",
            "namespaces",
            NAMESPACE,
            "leases",
            name,
        ] => ("coordination.k8s.io", "leases", name),
        ["api", "v1", "namespaces", NAMESPACE, "pods"] => ("", "pods", ""),
        ["api", "v1", "namespaces", NAMESPACE, "pods", name] => ("", "pods", name),
        [
            "apis",
            "metrics.k8s.io",
            "v1beta1",
            "namespaces",
            NAMESPACE,
            "pods",
        ] => ("metrics.k8s.io", "pods", ""),
        _ => return None,
    })
}

fn verb(method: &Method, name: &str, is_watch: bool) -> Option<&'static str> {
    Some(match (method.as_str(), name.is_empty()) {
        ("GET", true) if is_watch => "watch",
        ("GET", true) => "list",
        ("GET", false) => "get",
        ("POST", true) => "create",
        ("PUT", false) => "update",
        ("PATCH", false) => "patch",
        _ => return None,
    })
}

/// Checks parameters, content type and body by the reference of the API.
pub(super) fn published(
    request: &ApiRequest,
    head: &Parts,
    query: &BTreeMap<String, String>,
    sent: &Value,
) -> Result<(), String> {
    let parameters: &[&str] = match request.verb {
        "get" => &["pretty"],
        "list" => &["continue", "labelSelector", "limit", "resourceVersion"],
        "watch" => &[
            "allowWatchBookmarks",
            "labelSelector",
            "resourceVersion",
            "timeoutSeconds",
            "watch",
        ],
        _ => &["dryRun", "fieldManager", "fieldValidation"],
    };
    for name in query.keys() {
        if !parameters.contains(&name.as_str()) {
            return Err(format!("{} has no parameter {name}", request.verb));
        }
    }
    let selector = match request.resource {
        "endpointslices" => Some(format!("kubernetes.io/service-name={SERVICE}")),
        "pods" if request.verb == "list" => Some(SELECTOR.to_owned()),
        _ => None,
    };
    if query.get("labelSelector") != selector.as_ref() {
        return Err(format!("selects {:?}", query.get("labelSelector")));
    }
    let expected = match request.verb {
        "create" | "update" => "application/json",
        "patch" => "application/merge-patch+json",
        _ => return Ok(()),
    };
    let content_type = head.headers.get("content-type");
    if content_type.is_none_or(|value| value != expected) {
        return Err(format!("is {content_type:?}, not {expected}"));
    }
    let definition = match request.resource {
        "deployments/scale" => "io.k8s.api.autoscaling.v1.Scale",
        "leases" => "io.k8s.api.coordination.v1.Lease",
        _ => "io.k8s.api.core.v1.Pod",
    };
    check(definition, sent)?;
    let named = &sent["metadata"]["name"];
    if request.verb == "update" && *named != *request.name {
        return Err(format!("the body is of {named}"));
    }
    Ok(())
}

/// The decoded parameters of a query.
pub(super) fn parameters(query: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        let decoded = percent_encoding::percent_decode_str(&text);
        decoded.decode_utf8().unwrap().into_owned()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}
