//! The Role of the examples: what Weir may do in its namespace.

use std::fs;
use std::path::Path;

use serde_json::Value;

#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) groups: Vec<String>,
    pub(super) resources: Vec<String>,
    pub(super) verbs: Vec<String>,
}

impl Rule {
    pub(super) fn allows(&self, group: &str, resource: &str, verb: &str) -> bool {
        let has = |list: &[String], word: &str| list.iter().any(|each| each == word);
        has(&self.groups, group) && has(&self.resources, resource) && has(&self.verbs, verb)
    }

    /// Each group, resource and verb that it allows.
    pub(super) fn words(&self) -> Vec<(&str, &str, &str)> {
        let mut words = Vec::new();
        for group in &self.groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    words.push((group.as_str(), resource.as_str(), verb.as_str()));
                }
            }
        }
        words
    }
}

/// The rules of the manifest, each on a line of its own in the flow style of YAML.
pub(super) fn shipped_rules() -> Vec<Rule> {
    let manifest =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy/kubernetes/rbac.yaml");
    let text = fs::read_to_string(manifest).expect("the Role ships");
    let flow = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- {"));
    let rules: Vec<Rule> = flow
        .filter(|line| line.contains("verbs"))
        .map(|line| {
            let mut json = format!("{{{line}");
            for key in ["apiGroups", "resources", "verbs"] {
                json = json.replace(&format!("{key}:"), &format!("\"{key}\":"));
            }
            rule(&serde_json::from_str(&json).expect("quoted words in brackets"))
        })
        .collect();
    assert!(rules.len() >= 4, "found only {rules:?}");
    rules
}

fn rule(value: &Value) -> Rule {
    let words = |key: &str| {
        let list = value[key].as_array().expect("a list");
        let words = list.iter().map(|word| word.as_str().expect("a word"));
        words.map(str::to_owned).collect()
    };
    Rule {
        groups: words("apiGroups"),
        resources: words("resources"),
        verbs: words("verbs"),
    }
}
