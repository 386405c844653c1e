//! Conditions and filters in words.

use crate::model::{
    Condition, FieldEdit, Filters, PathRewrite, Pattern, QueryMatch, Template, TemplatePart,
};
use crate::router::RequestView;

/// What a condition looks at, in the words of the configuration: `path`, `header x-beta`.
pub(super) fn subject(condition: &Condition) -> String {
    match condition {
        Condition::Host(_) => "host".to_owned(),
        Condition::Path(_) => "path".to_owned(),
        Condition::Method(_) => "method".to_owned(),
        Condition::Header { name, .. } => format!("header {name}"),
        Condition::Query(_) => "query".to_owned(),
        Condition::SourceIp(_) => "source_ip".to_owned(),
    }
}

/// The values that a condition accepts.
pub(super) fn wanted(condition: &Condition) -> Vec<String> {
    let all = |patterns: &[Pattern]| patterns.iter().map(Pattern::to_string).collect();
    match condition {
        Condition::Host(hosts) => hosts.iter().map(ToString::to_string).collect(),
        Condition::Path(paths) => all(paths),
        Condition::Method(methods) => methods.iter().map(ToString::to_string).collect(),
        Condition::Header { values, .. } => all(values),
        Condition::Query(accepted) => accepted.iter().map(parameter).collect(),
        Condition::SourceIp(networks) => networks.iter().map(ToString::to_string).collect(),
    }
}

fn parameter(accepted: &QueryMatch) -> String {
    let name = accepted.key.as_deref().unwrap_or("*");
    format!("{name}={}", accepted.value)
}

/// What a request has where a condition looks; nothing if it has none.
pub(super) fn seen(condition: &Condition, request: &RequestView<'_>) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match condition {
        Condition::Host(_) => vec![request.host().to_owned()],
        Condition::Path(_) => vec![request.path().to_owned()],
        Condition::Method(_) => vec![text(request.method())],
        Condition::Header { name, .. } => {
            let sent = request.fields().get_all_by_name(name.as_str());
            sent.map(text).collect()
        }
        Condition::Query(_) => request.query().map(str::to_owned).into_iter().collect(),
        Condition::SourceIp(_) => vec![request.client().to_string()],
    }
}

/// What filters change in a request: one line each.
pub(super) fn request_filters(filters: &Filters) -> Vec<String> {
    let rewrite = &filters.rewrite;
    let path = rewrite.path.as_ref().map(|path| match path {
        PathRewrite::Replace(path) => format!("rewrite path to {}", template(path)),
        PathRewrite::Prefix { from, to } => format!("rewrite prefix {from}/ to {to}/"),
        PathRewrite::Regex { pattern, .. } => {
            format!("rewrite what /{}/ matches", pattern.as_str())
        }
    });
    let host = rewrite.host.as_ref();
    let host = host.map(|host| format!("rewrite host to {}", template(host)));
    let fields = filters.request.iter().map(edit);
    path.into_iter().chain(host).chain(fields).collect()
}

/// What filters change in a response: one line each.
pub(super) fn response_filters(filters: &Filters) -> Vec<String> {
    filters.response.iter().map(edit).collect()
}

fn edit(edit: &FieldEdit) -> String {
    match edit {
        FieldEdit::Remove(name) => format!("remove {name}"),
        FieldEdit::Set(name, value) => format!("set {name}: {}", template(value)),
        FieldEdit::Add(name, value) => format!("add {name}: {}", template(value)),
    }
}

/// As the configuration has it.
fn template(template: &Template) -> String {
    let part = |part: &TemplatePart| match part {
        TemplatePart::Literal(text) => text.clone(),
        TemplatePart::Placeholder(placeholder) => format!("#{{{}}}", placeholder.name()),
    };
    template.parts().iter().map(part).collect()
}
