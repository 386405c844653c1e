//! What `rewrite`, `request_headers` and `response_headers` mean.

use std::sync::Arc;

use weir::config;
use weir::model::{
    Action, FieldEdit, Filters, PathRewrite, Placeholder, ReplacementPart, Template, TemplatePart,
};

/// The filters beside the forward of a rule.
fn filters(inside: &str) -> Option<Arc<Filters>> {
    let text = format!(
        "[[listener]]\nbind = \"0.0.0.0:8080\"\nforward = \"todo\"\n\
         [[listener.rule]]\npriority = 1\nwhen = {{ path = \"/*\" }}\n\
         [listener.rule.then]\nforward = \"todo\"\n{inside}\n\
         [target_group.todo]\ntargets = \"10.0.0.1:6400\"\n"
    );
    let config = match config::parse("good.toml", &text, &|_| None) {
        Ok(parsed) if parsed.warnings.is_empty() => parsed.config,
        Ok(parsed) => panic!("{}", parsed.warnings),
        Err(problems) => panic!("{problems}"),
    };
    match &config.listeners[0].rules[0].action {
        Action::Forward(forward) => forward.filters.clone(),
        other => panic!("{other:?}"),
    }
}

/// Each placeholder becomes its name in capitals.
fn fill(placeholder: Placeholder, text: &mut String) {
    text.push_str(&placeholder.name().to_uppercase());
}

fn rendered(template: &Template) -> String {
    let mut text = String::new();
    template.render(&mut text, fill);
    text
}

/// What a rewrite makes of a path.
fn rewritten(rewrite: &str, path: &str) -> Option<String> {
    let filters = filters(&format!("rewrite = {{ {rewrite} }}")).expect("there is one");
    let rewrite = filters.rewrite.path.as_ref().expect("a path is rewritten");
    rewrite.apply(path, fill)
}

#[test]
fn a_forward_without_filters_has_none() {
    assert_eq!(filters(""), None);
}

#[test]
fn paths_are_rewritten_in_one_of_three_ways() {
    const API: &str = "prefix = { from = \"/api/v1\", to = \"/\" }";
    const USERS: &str =
        "regex = { pattern = '^/users/(?<id>[0-9]+)(/x)?$', replacement = \"/u/$1-$${id}$2$$\" }";
    let cases = [
        ("path = \"/index.html\"", "/a", Some("/index.html")),
        ("path = \"/#{host}/#{path}\"", "/a", Some("/HOST/PATH")),
        (API, "/api/v1/todos", Some("/todos")),
        (API, "/api/v1", Some("/")),
        (API, "/api/v10", None),
        ("prefix = { from = \"/a/\" }", "/a/b", Some("/b")),
        ("prefix = { from = \"/\", to = \"/a\" }", "/b", Some("/a/b")),
        (USERS, "/users/7", Some("/u/7-7$")),
        (USERS, "/users/7/x", Some("/u/7-7/x$")),
        (USERS, "/users/a", None),
        (
            "regex = { pattern = '-', replacement = \"\" }",
            "/a-b-c",
            Some("/abc"),
        ),
        (
            "regex = { pattern = '^/', replacement = \"/#{client_ip}/\" }",
            "/a",
            Some("/CLIENT_IP/a"),
        ),
    ];
    for (rewrite, path, expected) in cases {
        assert_eq!(
            rewritten(rewrite, path).as_deref(),
            expected,
            "{rewrite} of {path}"
        );
    }
}

#[test]
fn a_prefix_and_a_replacement_are_read_once() {
    let prefix = filters("rewrite = { prefix = { from = \"/a/\", to = \"/b/\" } }").unwrap();
    let expected = PathRewrite::Prefix {
        from: "/a".to_owned(),
        to: "/b".to_owned(),
    };
    assert_eq!(prefix.rewrite.path, Some(expected));

    let regex = "rewrite = { regex = { pattern = '^/(a)', replacement = \"/$1b$$1\" } }";
    let regex = filters(regex).unwrap();
    let Some(PathRewrite::Regex { replacement, .. }) = &regex.rewrite.path else {
        panic!("{regex:?}");
    };
    let expected = [
        ReplacementPart::Literal("/".to_owned()),
        ReplacementPart::Group(1),
        ReplacementPart::Literal("b$1".to_owned()),
    ];
    assert_eq!(*replacement, expected);
}

#[test]
fn a_host_may_be_that_of_the_target() {
    for (host, expected) in [
        ("app.internal", "app.internal"),
        ("app.internal:8080", "app.internal:8080"),
        ("www.#{host}:#{port}", "www.HOST:PORT"),
        ("#{target}", "TARGET"),
        ("[::1]:80", "[::1]:80"),
    ] {
        let filters = filters(&format!("rewrite = {{ host = \"{host}\" }}")).unwrap();
        assert_eq!(rendered(filters.rewrite.host.as_ref().unwrap()), expected);
        assert_eq!(filters.rewrite.path, None);
    }
}

#[test]
fn fields_are_removed_then_set_then_added() {
    let filters = filters(
        "request_headers = { add = { \"X-A\" = [\"1\", \"2\"] }, set = { \"X-B\" = \"\", \
         \"X-C\" = \"for=#{client_ip} id=#{request_id}\" }, remove = [\"X-D\", \"X-A\"] }\n\
         response_headers = { set = { \"X-Served-By\" = \"#{target}\" } }",
    )
    .unwrap();
    let shown: Vec<_> = filters.request.iter().map(shown).collect();
    let expected = [
        "remove x-d",
        "remove x-a",
        "set x-b: ",
        "set x-c: for=CLIENT_IP id=REQUEST_ID",
        "add x-a: 1",
        "add x-a: 2",
    ];
    assert_eq!(shown, expected);
    let [FieldEdit::Set(name, value)] = filters.response.as_slice() else {
        panic!("{:?}", filters.response);
    };
    assert_eq!(name, "x-served-by");
    assert_eq!(
        value.parts(),
        [TemplatePart::Placeholder(Placeholder::Target)]
    );
}

fn shown(edit: &FieldEdit) -> String {
    let (verb, name) = match edit {
        FieldEdit::Remove(name) => return format!("remove {name}"),
        FieldEdit::Set(name, _) => ("set", name),
        FieldEdit::Add(name, _) => ("add", name),
    };
    let value = edit.value().map(rendered).unwrap_or_default();
    format!("{verb} {name}: {value}")
}

#[test]
fn a_listener_has_filters_beside_its_own_forward() {
    let text = "[[listener]]\nbind = \"0.0.0.0:8080\"\nforward = \"todo\"\n\
                rewrite = { path = \"/a\" }\n[target_group.todo]\ntargets = \"10.0.0.1:6400\"\n";
    let config = config::parse("good.toml", text, &|_| None).unwrap().config;
    let Action::Forward(forward) = &config.listeners[0].default else {
        panic!("{:?}", config.listeners[0].default);
    };
    let filters = forward.filters.as_ref().expect("there is one");
    assert!(matches!(
        filters.rewrite.path,
        Some(PathRewrite::Replace(_))
    ));
}
