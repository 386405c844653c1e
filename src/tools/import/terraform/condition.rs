//! Reads the `condition` blocks of a rule.

use ipnet::IpNet;

use super::plan::{Conditions, Query};
use super::section::Section;

/// Adds the conditions of one block. Returns whether all of them have a counterpart.
pub(super) fn read(block: &Section<'_>, when: &mut Conditions) -> bool {
    let mut complete = old_form(block, when);
    for (kind, list) in [
        ("host_header", &mut when.host),
        ("path_pattern", &mut when.path),
        ("http_request_method", &mut when.method),
    ] {
        if let Some(inner) = block.block(kind) {
            complete &= list.is_empty();
            list.extend(patterns(&inner));
            complete &= inner.finish(&[]) && !list.is_empty();
        }
    }
    if let Some(inner) = block.block("http_header") {
        let name = inner.text("http_header_name").unwrap_or_default();
        let twice = when
            .headers
            .iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(&name));
        if twice {
            inner.not_mapped("http_header_name", format!("two conditions for `{name}`"));
        }
        let values = patterns(&inner);
        complete &= !twice && !name.is_empty() && !values.is_empty();
        when.headers.push((name, values));
        complete &= inner.finish(&[]);
    }
    if let Some(inner) = block.block("source_ip") {
        for text in inner.texts("values") {
            match text.parse::<IpNet>() {
                Ok(network) => when.source_ip.push(network.trunc()),
                Err(_) => inner.not_mapped("values", format!("`{text}` is not a network")),
            }
        }
        complete &= inner.finish(&[]) && !when.source_ip.is_empty();
    }
    let queries = block.blocks("query_string");
    if !queries.is_empty() {
        complete &= query(block, queries, when);
    }
    complete
}

/// Reads `field` and `values`, the form of the provider before version 2.
fn old_form(block: &Section<'_>, when: &mut Conditions) -> bool {
    let Some(field) = block.text("field") else {
        return true;
    };
    let list = match field.as_str() {
        "path-pattern" => &mut when.path,
        "host-header" => &mut when.host,
        "http-request-method" => &mut when.method,
        other => {
            block.not_mapped("field", format!("no condition `{other}`"));
            return false;
        }
    };
    let is_first = list.is_empty();
    list.extend(patterns(block));
    is_first && !list.is_empty()
}

/// Whether requests can match each value. AWS accepts values that match no request.
pub(super) fn can_match(section: &Section<'_>, when: &Conditions) -> bool {
    let is_path = |path: &&String| {
        path.starts_with(['/', '*', '?']) && !path.contains(|c: char| c == '#' || c.is_whitespace())
    };
    let is_host = |host: &&String| {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*' | '?');
        !host.is_empty() && host.chars().all(legal)
    };
    let bad_path = when.path.iter().find(|path| !is_path(path));
    let bad = bad_path.or_else(|| when.host.iter().find(|host| !is_host(host)));
    if let Some(bad) = bad {
        section.not_mapped("condition", format!("no request has `{bad}`"));
    }
    bad.is_none()
}

fn patterns(section: &Section<'_>) -> Vec<String> {
    let values = section.texts("values");
    if let Some(escaped) = values.iter().find(|value| value.contains('\\')) {
        section.not_mapped("values", format!("the backslash in `{escaped}`"));
        return Vec::new();
    }
    values
}

/// Adds pairs of a query: those of one condition are alternatives, several conditions must all
/// hold.
fn query(block: &Section<'_>, pairs: Vec<Section<'_>>, when: &mut Conditions) -> bool {
    let mut complete = true;
    let mut read: Vec<(Option<String>, String)> = Vec::new();
    for pair in pairs {
        let key = pair.text("key");
        match pair.text("value") {
            Some(value) if !value.contains('\\') => read.push((key, value)),
            _ => complete = false,
        }
        complete &= pair.finish(&[]);
    }
    let before = match std::mem::take(&mut when.query) {
        Query::Any => {
            let values = read.into_iter().map(|(key, value)| match key {
                Some(key) => format!("{key}={value}"),
                None => value,
            });
            when.query = Query::OneOf(values.collect());
            return complete;
        }
        Query::OneOf(values) => {
            let pairs: Option<Vec<_>> = values
                .iter()
                .map(|text| {
                    let (key, value) = text.split_once('=')?;
                    Some((Some(key.to_owned()), value.to_owned()))
                })
                .collect();
            pairs.and_then(one_name).map(|pair| vec![pair])
        }
        Query::All(pairs) => Some(pairs),
    };
    if let (Some(mut all), Some(next)) = (before, one_name(read))
        && all.iter().all(|(key, _)| *key != next.0)
    {
        all.push(next);
        when.query = Query::All(all);
        return complete;
    }
    block.not_mapped(
        "query_string",
        "conditions with alternatives of different names",
    );
    false
}

/// Converts alternatives for one name to that name and its values; `None` for several names.
fn one_name(pairs: Vec<(Option<String>, String)>) -> Option<(String, Vec<String>)> {
    let name = pairs.first()?.0.clone()?;
    let same = pairs.iter().all(|(key, _)| key.as_ref() == Some(&name));
    let values = pairs.into_iter().map(|(_, value)| value).collect();
    same.then_some((name, values))
}

/// The networks that both lists contain: if two networks overlap, one contains the other.
pub(super) fn common(a: &[IpNet], b: &[IpNet]) -> Vec<IpNet> {
    let pairs = a.iter().flat_map(|a| b.iter().map(move |b| (a, b)));
    let both: Vec<IpNet> = pairs
        .filter_map(|(a, b)| {
            if a.contains(b) {
                Some(*b)
            } else {
                b.contains(a).then_some(*a)
            }
        })
        .collect();
    IpNet::aggregate(&both)
}
