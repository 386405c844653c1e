//! CPU time and memory of pods, in percent of their allowance.
//!
//! Measured by the metrics server (`metrics.k8s.io/v1beta1`), averaged over its own window. 100 %
//! is the configured allowance, or else the pod's limit, or else its request.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;

use crate::config::Allowance;
use crate::replicas::Usage;

/// The `PodMetricsList` of the API, for which `k8s-openapi` has no type.
#[derive(Debug, Deserialize)]
pub(super) struct PodMetricsList {
    items: Vec<PodMetrics>,
}

#[derive(Debug, Deserialize)]
struct PodMetrics {
    metadata: Named,
    containers: Vec<ContainerMetrics>,
}

#[derive(Clone, Debug, Deserialize)]
struct Named {
    name: String,
}

#[derive(Debug, Deserialize)]
struct ContainerMetrics {
    usage: BTreeMap<String, Quantity>,
}

/// What is read of a pod: how much it may use. A whole one is a hundred times that.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PodResources {
    metadata: Named,
    spec: PodSpec,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    containers: Vec<Container>,
    #[serde(default)]
    init_containers: Vec<Container>,
    resources: Option<Resources>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    resources: Option<Resources>,
    restart_policy: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Resources {
    #[serde(default)]
    limits: BTreeMap<String, Quantity>,
    #[serde(default)]
    requests: BTreeMap<String, Quantity>,
}

/// What a pod uses.
pub(super) struct PodUsage {
    pub(super) name: String,
    pub(super) usage: Usage,
}

/// What each pod uses. A value is missing if the usage or the allowance is not known.
pub(super) fn usages(
    metrics: &PodMetricsList,
    pods: &[PodResources],
    allowance: &Allowance,
) -> Vec<PodUsage> {
    let named = |name: &str| pods.iter().find(|pod| pod.metadata.name == name);
    let usage = |pod: &PodMetrics| {
        let limits = named(&pod.metadata.name);
        let percent = |resource: &str, configured: Option<f64>| {
            let allowed = configured.or_else(|| allowed(limits?, resource))?;
            let used = used(pod, resource)?;
            (allowed > 0.0).then(|| 100.0 * used / allowed)
        };
        Usage {
            cpu: percent("cpu", allowance.cpus),
            memory: percent("memory", allowance.memory.map(|bytes| bytes as f64)),
        }
    };
    metrics
        .items
        .iter()
        .map(|pod| PodUsage {
            name: pod.metadata.name.clone(),
            usage: usage(pod),
        })
        .collect()
}

/// All containers of a pod together; `None` while one of them has not been measured.
fn used(pod: &PodMetrics, resource: &str) -> Option<f64> {
    sum(pod
        .containers
        .iter()
        .map(|container| amount(container.usage.get(resource)?)))
}

/// What a pod may use: its own limit, or those of its containers together.
fn allowed(pod: &PodResources, resource: &str) -> Option<f64> {
    let spec = &pod.spec;
    let limit = |of: Option<&Resources>| amount(of?.limits.get(resource)?);
    let request = |of: Option<&Resources>| amount(of?.requests.get(resource)?);
    let whole = spec.resources.as_ref();
    let containers = || {
        // With this policy it runs beside the other containers, not before them.
        let is_sidecar = |each: &&Container| each.restart_policy.as_deref() == Some("Always");
        let sidecars = spec.init_containers.iter().filter(is_sidecar);
        spec.containers
            .iter()
            .chain(sidecars)
            .map(|container| container.resources.as_ref())
    };
    limit(whole)
        .or_else(|| sum(containers().map(limit)))
        .or_else(|| request(whole))
        .or_else(|| sum(containers().map(request)))
}

/// `None` if there are no amounts, or if one of them is missing.
fn sum(amounts: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let mut amounts = amounts.peekable();
    amounts.peek()?;
    amounts.sum()
}

fn amount(quantity: &Quantity) -> Option<f64> {
    parse(&quantity.0)
}

/// A quantity as Kubernetes writes it: `250m`, `1.5`, `128Mi`, `1e3`, `123456789n`.
///
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
fn parse(text: &str) -> Option<f64> {
    let text = text.trim();
    // An `E` between digits is an exponent, at the end it means exa.
    if let Ok(plain) = text.parse::<f64>() {
        return plain.is_finite().then_some(plain);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 2_f64.powi(10),
        "Mi" => 2_f64.powi(20),
        "Gi" => 2_f64.powi(30),
        "Ti" => 2_f64.powi(40),
        "Pi" => 2_f64.powi(50),
        "Ei" => 2_f64.powi(60),
        _ => return None,
    };
    let number: f64 = digits.parse().ok()?;
    number.is_finite().then_some(number * factor)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn metrics(containers: &Value) -> PodMetricsList {
        let pod = json!({"metadata": {"name": "a"}, "containers": containers});
        serde_json::from_value(json!({"items": [pod]})).unwrap()
    }

    fn pod(spec: &Value) -> PodResources {
        serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap()
    }

    fn usage(containers: &Value, spec: &Value, allowance: Allowance) -> Usage {
        let usages = usages(&metrics(containers), &[pod(spec)], &allowance);
        assert_eq!(usages.len(), 1);
        assert_eq!(usages[0].name, "a");
        usages[0].usage
    }

    fn percent(cpu: impl Into<Option<f64>>, memory: impl Into<Option<f64>>) -> Usage {
        Usage {
            cpu: cpu.into(),
            memory: memory.into(),
        }
    }

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        let cases = [
            ("0", 0.0),
            ("1.5", 1.5),
            ("250m", 0.25),
            ("1500000u", 1.5),
            ("500000000n", 0.5),
            ("2k", 2000.0),
            ("128Mi", 134_217_728.0),
            ("1G", 1e9),
            ("1E", 1e18),
            ("1e3", 1000.0),
            ("1E3", 1000.0),
        ];
        for (text, expected) in cases {
            let parsed = parse(text).expect(text);
            assert!((parsed - expected).abs() <= expected * 1e-12, "{text}");
        }
        for broken in ["", "m", "1x", "1mm", "x1", "inf", "NaN", "1ki", "1 Mi x"] {
            assert_eq!(parse(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn hundred_percent_is_the_allowance_or_the_limit_or_the_request() {
        let used = json!([{"name": "app", "usage": {"cpu": "250m", "memory": "64Mi"}}]);
        let limited = json!({"containers": [{"name": "app", "resources": {
            "limits": {"cpu": "500m"},
            "requests": {"cpu": "250m", "memory": "128Mi"},
        }}]});
        let none = Allowance::default();
        assert_eq!(usage(&used, &limited, none), percent(50.0, 50.0));
        let configured = Allowance {
            cpus: Some(1.0),
            memory: Some(256 << 20),
        };
        assert_eq!(usage(&used, &limited, configured), percent(25.0, 25.0));
        let whole =
            json!({"containers": [], "resources": {"limits": {"cpu": "1", "memory": "64Mi"}}});
        assert_eq!(usage(&used, &whole, none), percent(25.0, 100.0));
        let unbounded = json!({"containers": [{"name": "app"}]});
        assert_eq!(usage(&used, &unbounded, none), percent(None, None));
        let zero = json!({"containers": [{"name": "app", "resources": {"limits": {"cpu": "0"}}}]});
        assert_eq!(usage(&used, &zero, none), percent(None, None));
    }

    #[test]
    fn a_pod_is_all_of_its_containers() {
        let used = json!([
            {"name": "app", "usage": {"cpu": "100m"}},
            {"name": "proxy", "usage": {"cpu": "100m"}},
        ]);
        let both = json!({
            "containers": [{"name": "app", "resources": {"limits": {"cpu": "300m"}}}],
            "initContainers": [
                {"name": "once", "resources": {"limits": {"cpu": "9"}}},
                {"name": "proxy", "restartPolicy": "Always",
                 "resources": {"limits": {"cpu": "100m"}}},
            ],
        });
        assert_eq!(
            usage(&used, &both, Allowance::default()),
            percent(50.0, None)
        );
        // A container without a limit may use all that the node has.
        let one = json!({"containers": [
            {"name": "app", "resources": {"limits": {"cpu": "300m"}}},
            {"name": "proxy"},
        ]});
        assert_eq!(
            usage(&used, &one, Allowance::default()),
            percent(None, None)
        );
        let none = json!([]);
        assert_eq!(
            usage(&none, &both, Allowance::default()),
            percent(None, None)
        );
    }

    #[test]
    fn a_pod_that_is_not_listed_has_the_configured_allowance_alone() {
        let used = metrics(&json!([{"name": "app", "usage": {"cpu": "100m"}}]));
        let allowance = Allowance {
            cpus: Some(0.2),
            memory: None,
        };
        let with = usages(&used, &[], &allowance);
        assert_eq!(with[0].usage, percent(50.0, None));
        assert_eq!(
            usages(&used, &[], &Allowance::default())[0].usage,
            percent(None, None)
        );
    }
}
