//! Filters: what a forward changes in a request on its way to a target, and in the response on its
//! way back.
//!
//! They come last: what Weir itself writes is in the head already. A value that is filled in can
//! neither end a line nor make a head illegal.

use std::fmt::Write;

use crate::message::{FieldName, Fields, LOOSE, RequestHead, ResponseHead, TARGET, is_in};
use crate::model::{
    ClientAddress, FieldEdit, Filters, PathRewrite, Placeholder, ReplacementPart, Rewrite, Template,
};
use crate::observe::RequestId;
use crate::router::RequestView;

/// What placeholders stand for: the request as it was routed. A copy, because the head is changed
/// before the last of them is filled in. Made for requests that have filters only.
#[derive(Clone, Debug)]
pub(super) struct RequestFacts {
    /// In the spelling that rules compare.
    path: String,
    sent_path: String,
    query: Option<String>,
    host: String,
    client: ClientAddress,
    protocol: &'static str,
    port: u16,
    request_id: RequestId,
}

impl RequestFacts {
    /// `protocol` (`http` or `https`) and `port` are what the client came by.
    pub(super) fn new(
        view: &RequestView<'_>,
        protocol: &'static str,
        port: u16,
        request_id: RequestId,
    ) -> Self {
        Self {
            path: view.path().to_owned(),
            sent_path: view.sent_path().to_owned(),
            query: view.query().map(str::to_owned),
            host: view.host().to_owned(),
            client: view.client(),
            protocol,
            port,
            request_id,
        }
    }

    /// Appends the value of a placeholder.
    fn fill(&self, placeholder: Placeholder, target: &str, text: &mut String) {
        match placeholder {
            Placeholder::Protocol => text.push_str(self.protocol),
            Placeholder::Host => text.push_str(&self.host),
            Placeholder::Port => text.push_str(&self.port.to_string()),
            Placeholder::Path => {
                let path = self.sent_path.strip_prefix('/');
                text.push_str(path.unwrap_or(&self.sent_path));
            }
            Placeholder::Query => text.push_str(self.query.as_deref().unwrap_or_default()),
            Placeholder::ClientIp => match self.client.canonical_ip() {
                Some(address) => text.push_str(&address.to_string()),
                None => text.push_str(&self.client.to_string()),
            },
            Placeholder::RequestId => text.push_str(self.request_id.as_str()),
            Placeholder::Target => text.push_str(target),
        }
    }

    fn render(&self, template: &Template, target: &str) -> String {
        let mut text = String::new();
        template.render(&mut text, |placeholder, text| {
            self.fill(placeholder, target, text);
        });
        text
    }
}

/// Whether a request differs between targets. Its filters are to be applied to a copy of the head
/// for each attempt then, and otherwise once.
pub(super) fn depend_on_target(filters: &Filters) -> bool {
    let has = |template: &Template| template.has(Placeholder::Target);
    let Rewrite { path, host } = &filters.rewrite;
    let in_path = match path {
        None | Some(PathRewrite::Prefix { .. }) => false,
        Some(PathRewrite::Replace(template)) => has(template),
        Some(PathRewrite::Regex { replacement, .. }) => {
            replacement.contains(&ReplacementPart::Placeholder(Placeholder::Target))
        }
    };
    let mut values = filters.request.iter().filter_map(FieldEdit::value);
    in_path || host.as_ref().is_some_and(has) || values.any(has)
}

/// Changes a request on its way to a target.
pub(super) fn apply_to_request(
    filters: &Filters,
    head: &mut RequestHead,
    facts: &RequestFacts,
    target: &str,
) {
    let Rewrite { path, host } = &filters.rewrite;
    if let Some(rewrite) = path {
        rewrite_path(rewrite, head, facts, target);
    }
    if let Some(host) = host {
        // What is no host leaves the one that the client asked for.
        let _ = head.set_host(facts.render(host, target).as_bytes());
    }
    for edit in &filters.request {
        apply(edit, &mut head.fields, facts, target);
    }
}

/// Changes the final response of a target on its way to the client.
pub(super) fn apply_to_response(
    filters: &Filters,
    head: &mut ResponseHead,
    facts: &RequestFacts,
    target: &str,
) {
    for edit in &filters.response {
        apply(edit, &mut head.fields, facts, target);
    }
}

/// A target without a path, the `*` of OPTIONS, stays.
fn rewrite_path(rewrite: &PathRewrite, head: &mut RequestHead, facts: &RequestFacts, target: &str) {
    if !facts.path.starts_with('/') {
        return;
    }
    let fill = |placeholder, text: &mut String| facts.fill(placeholder, target, text);
    let Some(path) = rewrite.apply(&facts.path, fill) else {
        return;
    };
    let mut rewritten = legal_path(&path);
    if let Some(query) = &facts.query {
        rewritten.push('?');
        rewritten.push_str(query);
    }
    let set = head.set_target(rewritten.as_bytes());
    debug_assert!(set.is_ok(), "{rewritten}");
}

/// The path with everything encoded that no target may contain. A percent sign that encodes
/// nothing, because a rewrite has cut its digits off, stands for itself.
fn legal_path(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut legal = String::with_capacity(path.len());
    for (at, byte) in bytes.iter().enumerate() {
        let is_legal = match byte {
            b'%' => is_encoding(&bytes[at + 1..]),
            b'?' => false,
            byte => is_in(*byte, TARGET | LOOSE),
        };
        if is_legal {
            legal.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(legal, "%{byte:02X}");
        }
    }
    legal
}

fn is_encoding(digits: &[u8]) -> bool {
    matches!(digits, [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

fn apply(edit: &FieldEdit, fields: &mut Fields, facts: &RequestFacts, target: &str) {
    let name = edit.name().as_str();
    if FieldName::from_bytes(name.as_bytes()) == FieldName::Host {
        // It is rewritten, as a head has it exactly once.
        return;
    }
    let value = edit.value().map(|value| facts.render(value, target));
    let value = value.unwrap_or_default();
    let is_applied = match edit {
        FieldEdit::Remove(_) => {
            fields.remove_by_name(name);
            Ok(())
        }
        FieldEdit::Set(..) => fields.set_by_name(name, value.as_bytes()),
        FieldEdit::Add(..) => fields.append(name, value.as_bytes()),
    };
    // Values consist of the file's text, which was checked, and of parts of heads.
    debug_assert!(is_applied.is_ok(), "{edit:?}");
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::model::{NormalizePath, Pattern, TemplatePart};

    const TARGET: &str = "10.0.0.1:6400";

    fn request(target: &str, fields: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead::new();
        head.set_target(target.as_bytes()).unwrap();
        head.set_host(b"Shop.example:81").unwrap();
        for (name, value) in fields {
            head.fields.append(name, value.as_bytes()).unwrap();
        }
        head
    }

    fn facts(head: &RequestHead) -> RequestFacts {
        let client = ClientAddress::Ip("::ffff:192.0.2.7".parse().unwrap());
        let view = RequestView::new(head, client, NormalizePath::Match);
        RequestFacts::new(&view, "http", 8080, RequestId::given(b"id-1").unwrap())
    }

    /// What a target is sent by these filters.
    fn sent(filters: &Filters, mut head: RequestHead) -> RequestHead {
        let facts = facts(&head);
        apply_to_request(filters, &mut head, &facts, TARGET);
        head
    }

    fn rewriting(path: PathRewrite) -> Filters {
        Filters {
            rewrite: Rewrite {
                path: Some(path),
                host: None,
            },
            ..Filters::default()
        }
    }

    fn rewritten(path: PathRewrite, target: &str) -> String {
        let head = sent(&rewriting(path), request(target, &[]));
        String::from_utf8(head.target().to_vec()).unwrap()
    }

    fn prefix(from: &str, to: &str) -> PathRewrite {
        PathRewrite::Prefix {
            from: from.to_owned(),
            to: to.to_owned(),
        }
    }

    fn regex(pattern: &str, replacement: &[ReplacementPart]) -> PathRewrite {
        let Pattern::Regex(pattern) = Pattern::regex(pattern).unwrap() else {
            unreachable!("it is one");
        };
        PathRewrite::Regex {
            pattern,
            replacement: replacement.to_vec(),
        }
    }

    fn literal(text: &str) -> Template {
        Template::new(vec![TemplatePart::Literal(text.to_owned())])
    }

    fn placeholder(placeholder: Placeholder) -> Template {
        Template::new(vec![TemplatePart::Placeholder(placeholder)])
    }

    fn name(name: &'static str) -> HeaderName {
        HeaderName::from_static(name)
    }

    fn editing(edits: Vec<FieldEdit>) -> Filters {
        Filters {
            request: edits,
            ..Filters::default()
        }
    }

    fn values<'f>(fields: &'f Fields, name: &str) -> Vec<&'f str> {
        let values = fields.get_all_by_name(name);
        values.map(|value| str::from_utf8(value).unwrap()).collect()
    }

    #[test]
    fn a_prefix_becomes_another_and_the_query_stays() {
        let cases = [
            ("/api/v1/todos?a=/api/v1", "/todos?a=/api/v1"),
            ("/api/v1?", "/?"),
            ("/api/v10", "/api/v10"),
            ("/other", "/other"),
            // Found in the spelling in which rules find it.
            ("//api/./v1/%61?%61", "/a?%61"),
        ];
        for (target, expected) in cases {
            assert_eq!(rewritten(prefix("/api/v1", ""), target), expected);
        }
        assert_eq!(rewritten(prefix("/x", "/y"), "/z/%61"), "/z/%61", "as sent");
    }

    #[test]
    fn a_match_becomes_what_its_groups_say() {
        let replacement = [
            ReplacementPart::Literal("/u/".to_owned()),
            ReplacementPart::Group(1),
            ReplacementPart::Literal("/".to_owned()),
            ReplacementPart::Placeholder(Placeholder::ClientIp),
        ];
        let rewrite = regex("^/users/([0-9]+)$", &replacement);
        assert_eq!(rewritten(rewrite, "/users/42?x"), "/u/42/192.0.2.7?x");
    }

    #[test]
    fn what_cannot_be_in_a_path_is_encoded() {
        let cases = [
            ("/a b", "/a%20b"),
            ("/a\"<>\\", "/a%22%3C%3E%5C"),
            ("/%2", "/%252"),
            ("/%zz%41", "/%25zz%41"),
            ("/[x]|", "/[x]|"),
        ];
        for (path, expected) in cases {
            let path = PathRewrite::Replace(literal(path));
            assert_eq!(rewritten(path, "/"), expected);
        }
        // A match may take the digits of an encoding away.
        assert_eq!(rewritten(regex("2F", &[]), "/a%2Fb?c"), "/a%25b?c");
    }

    #[test]
    fn the_asterisk_of_options_stays() {
        let mut head = RequestHead::new();
        head.set_method(b"OPTIONS").unwrap();
        head.set_target(b"*").unwrap();
        let head = sent(&rewriting(PathRewrite::Replace(literal("/a"))), head);
        assert_eq!(head.target(), b"*");
    }

    #[test]
    fn a_host_is_rewritten_if_the_new_one_is_a_host() {
        let to = |host: Template| {
            let rewrite = Rewrite {
                path: None,
                host: Some(host),
            };
            let filters = Filters {
                rewrite,
                ..Filters::default()
            };
            let head = sent(&filters, request("/", &[]));
            values(&head.fields, "host").join(" ")
        };
        assert_eq!(to(literal("app.internal:80")), "app.internal:80");
        assert_eq!(to(placeholder(Placeholder::Host)), "shop.example");
        assert_eq!(to(placeholder(Placeholder::Target)), TARGET);
        assert_eq!(to(literal("user@host")), "Shop.example:81");
    }

    #[test]
    fn fields_are_removed_replaced_and_added() {
        let filters = editing(vec![
            FieldEdit::Remove(name("x-debug")),
            FieldEdit::Set(name("accept"), literal("text/html")),
            FieldEdit::Set(name("x-new"), literal("a b")),
            FieldEdit::Add(name("x-tag"), literal("two")),
            FieldEdit::Set(name("host"), literal("evil")),
            FieldEdit::Remove(name("host")),
        ]);
        let head = sent(
            &filters,
            request(
                "/",
                &[
                    ("X-Debug", "1"),
                    ("Accept", "*/*"),
                    ("x-debug", "2"),
                    ("X-Tag", "one"),
                    ("accept", "image/*"),
                ],
            ),
        );
        assert_eq!(values(&head.fields, "x-debug"), [""; 0]);
        assert_eq!(values(&head.fields, "accept"), ["text/html"]);
        assert_eq!(values(&head.fields, "x-new"), ["a b"]);
        assert_eq!(values(&head.fields, "x-tag"), ["one", "two"]);
        assert_eq!(values(&head.fields, "host"), ["Shop.example:81"]);
    }

    #[test]
    fn placeholders_stand_for_the_request_as_it_came() {
        let expected = |placeholder| match placeholder {
            Placeholder::Protocol => "http",
            Placeholder::Host => "shop.example",
            Placeholder::Port => "8080",
            Placeholder::Path => "x/../a",
            Placeholder::Query => "b=c",
            Placeholder::ClientIp => "192.0.2.7",
            Placeholder::RequestId => "id-1",
            Placeholder::Target => TARGET,
        };
        let mut head = request("/x/../a?b=c", &[]);
        let facts = facts(&head);
        let rewrite = rewriting(PathRewrite::Replace(literal("/other")));
        apply_to_request(&rewrite, &mut head, &facts, TARGET);
        for one in Placeholder::ALL {
            let filters = Filters {
                response: vec![FieldEdit::Set(name("x-fact"), placeholder(one))],
                ..Filters::default()
            };
            let mut response = ResponseHead::new();
            apply_to_response(&filters, &mut response, &facts, TARGET);
            assert_eq!(values(&response.fields, "x-fact"), [expected(one)]);
        }
        let without_query = self::facts(&request("/", &[]));
        let text = without_query.render(&placeholder(Placeholder::Query), TARGET);
        assert_eq!(text, "");
    }

    #[test]
    fn only_requests_that_name_the_target_depend_on_it() {
        let target = || placeholder(Placeholder::Target);
        let host = |host| Filters {
            rewrite: Rewrite {
                path: None,
                host: Some(host),
            },
            ..Filters::default()
        };
        let part = ReplacementPart::Placeholder(Placeholder::Target);
        let depend = [
            host(target()),
            editing(vec![FieldEdit::Add(name("x-target"), target())]),
            rewriting(PathRewrite::Replace(target())),
            rewriting(regex("a", &[part])),
        ];
        assert!(depend.iter().all(depend_on_target));
        let response = Filters {
            response: vec![FieldEdit::Set(name("x-target"), target())],
            ..Filters::default()
        };
        let others = [
            Filters::default(),
            response,
            host(literal("a")),
            rewriting(prefix("/a", "/b")),
            editing(vec![FieldEdit::Remove(name("x-target"))]),
        ];
        assert!(!others.iter().any(depend_on_target));
    }
}
