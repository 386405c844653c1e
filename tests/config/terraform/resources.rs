//! Single resources, and what has no counterpart.

use super::*;

#[test]
fn broken_files_are_listed_and_the_others_are_read() {
    let forward = listener("type = \"forward\"\n target_group_arn = aws_lb_target_group.a.arn");
    let files = [
        file("broken.tf", "resource \"aws_lb\" {\n  name = \n"),
        file("fine.tf", &forward),
    ];
    let imported = import(&files, &Options::default());
    listed(&imported, &["broken.tf:2: the whole file: not HCL"]);
    assert_eq!(checked(&imported).config.listeners.len(), 1);
}

#[test]
fn a_listener_is_as_open_as_its_security_groups() {
    let forward = "type = \"forward\"\n target_group_arn = aws_lb_target_group.a.arn";
    let open = listener(forward);
    let bind = |text: &str| {
        let imported = of(text);
        (checked(&imported).config.listeners[0].clone(), imported)
    };
    let (all, _) = bind(&open);
    assert_eq!(all.bind, "0.0.0.0:81".parse().unwrap());
    let (v6, _) = bind(&open.replace(
        "cidr_blocks = [\"0.0.0.0/0\"]",
        "ipv6_cidr_blocks = [\"::/0\"]",
    ));
    assert_eq!(v6.bind, "[::]:81".parse().unwrap());
    let (some, _) = bind(&open.replace("0.0.0.0/0", "192.0.2.0/24"));
    let is_wildcard = some.bind.address().unwrap().ip().is_unspecified();
    assert_eq!((is_wildcard, some.rules.len()), (true, 1));
    assert!(
        matches!(&some.default, weir::model::Action::FixedResponse(answer) if answer.status == 403)
    );
    // No client, a port without a rule, a group of other files: closed, with a note.
    for closed in [
        open.replace("0.0.0.0/0\"", "0.0.0.0/33\""),
        open.replace("to_port = 90", "to_port = 80"),
        open.replace(
            "[aws_security_group.a.id]",
            "[data.aws_security_group.a.id]",
        ),
    ] {
        let (listener, imported) = bind(&closed);
        assert_eq!(listener.bind, "127.0.0.1:81".parse().unwrap());
        listed(&imported, &["aws_lb_listener.a", "no clients of port 81"]);
    }
}

#[test]
fn an_action_without_a_counterpart_serves_no_requests() {
    for action in ["type = \"authenticate-oidc\"", "type = \"redirect\"", ""] {
        let imported = of(&listener(action));
        let config = checked(&imported).config;
        let default = &config.listeners[0].default;
        assert!(
            matches!(default, weir::model::Action::FixedResponse(answer) if answer.status == 503),
            "{action}: {default:?}"
        );
        listed(&imported, &["aws_lb_listener.a", "answered with 503"]);
    }
}

#[test]
fn targets_that_are_there_already_are_not_run() {
    let options = Options {
        targets: vec!["127.0.0.1:6400".to_owned(), "127.0.0.1:6401".to_owned()],
        ..Options::default()
    };
    let imported = import(&folder("taskoverflow"), &options);
    let parsed = checked(&imported);
    assert!(parsed.warnings.is_empty(), "{}", parsed.warnings);
    let group = &parsed.config.target_groups[0];
    assert_eq!((group.targets.len(), &group.replicas), (2, &None));
    assert!(
        imported
            .toml
            .contains("# [target_group.service.autoscaling]\n# min = 1\n")
    );
}

#[test]
fn rules_that_for_each_makes_are_taken_over_one_by_one() {
    let shell = listener("type = \"forward\"\n target_group_arn = aws_lb_target_group.a.arn");
    let rules = |each: &str, priority: &str, paths: &str| {
        of(&format!(
            "{shell}resource \"aws_lb_listener_rule\" \"r\" {{\n for_each = {each}\n \
             listener_arn = aws_lb_listener.a.arn\n priority = {priority}\n action {{\n \
             type = \"forward\"\n target_group_arn = aws_lb_target_group.a.arn\n}}\n \
             condition {{\n path_pattern {{ values = {paths} }}\n}}\n}}\n"
        ))
    };
    let found = |imported: &Imported| {
        let config = checked(imported).config;
        let rules = config.listeners[0].rules.iter();
        rules.map(|rule| rule.priority.0).collect::<Vec<_>>()
    };
    let map = "{ api = { n = 10, path = \"/api/*\" }, admin = { n = 20, path = \"/admin/*\" } }";
    let mapped = rules(map, "each.value.n", "[each.value.path, \"/${each.key}\"]");
    assert_eq!(found(&mapped), [10, 20]);
    assert!(
        mapped.toml.contains("path = [\"/admin/*\", \"/admin\"]\n"),
        "{}",
        mapped.toml
    );
    let rules_of = |note: &&Note| note.subject.contains("rule");
    assert!(
        !not_mapped(&mapped).iter().any(rules_of),
        "{:#?}",
        mapped.notes
    );
    let set = rules(
        "toset([\"1\", \"2\"])",
        "each.key + 30",
        "[\"/${each.value}\"]",
    );
    assert_eq!(found(&set), [31, 32]);
    assert!(found(&rules("{}", "1", "[\"/\"]")).is_empty());
    // An unknown value of one of them only affects that one.
    let partly = rules(
        "{ a = \"/a\", b = var.path }",
        "each.key == \"a\" ? 1 : 2",
        "[each.value]",
    );
    assert_eq!(found(&partly), [1]);
    listed(&partly, &["aws_lb_listener_rule.r[\"b\"]", "var.path"]);
    for unknown in ["var.rules", "{ for k, v in var.all : k => v }", "[1, 2]"] {
        let imported = rules(unknown, "1", "[\"/\"]");
        assert_eq!(found(&imported), [1]);
        listed(&imported, &["aws_lb_listener_rule.r", "taken as one"]);
    }
}

#[test]
fn one_instance_stands_for_an_unknown_number() {
    for (made, arn) in [
        ("count = var.count", "aws_lb_target_group.a[0].arn"),
        ("count = var.count", "one(aws_lb_target_group.a[*].arn)"),
        ("for_each = var.all", "aws_lb_target_group.a[\"x\"].arn"),
        ("for_each = var.all", "aws_lb_target_group.a[var.key].arn"),
    ] {
        let counted = SHELL.replace("  port = 80\n", &format!("  {made}\n  port = 80\n"));
        let action = format!("type = \"forward\"\n target_group_arn = {arn}");
        let imported = of(&listener(&action).replace(SHELL, &counted));
        assert_eq!(
            checked(&imported).config.target_groups.len(),
            1,
            "{}",
            imported.toml
        );
        listed(&imported, &["aws_lb_target_group.a", "taken as one"]);
    }
    let none = SHELL.replace("  port = 80\n", "  count = 0\n  port = 80\n");
    let imported = of(&none);
    listed(&imported, &["aws_lb_target_group.a", "makes none of it"]);
}

#[test]
fn unknown_values_of_a_container_are_listed() {
    for (setting, word) in [
        (
            "environment = [for k, v in var.all : { name = k, value = v }]",
            "var.all",
        ),
        ("environment = local.nowhere", "local.nowhere"),
        (
            "environment = [{ name = var.name, value = \"1\" }]",
            "var.name",
        ),
        ("command = split(\" \", var.line)", "var.line"),
        ("command = \"one text\"", "one text"),
        ("cpu = var.cpu", "var.cpu"),
        ("memory = var.memory", "var.memory"),
    ] {
        let imported = of(&service(setting));
        listed(&imported, &["aws_ecs_task_definition.a", word]);
    }
    let imported = of(&service("environment = null\n command = null"));
    let odd: Vec<_> = not_mapped(&imported);
    assert!(
        odd.iter()
            .all(|note| !note.subject.contains("task_definition")),
        "{odd:#?}"
    );
}

#[test]
fn a_resource_that_count_makes_one_of_is_found_however_it_is_named() {
    let counted = SHELL.replace("  port = 80\n", "  count = 1\n  port = 80\n");
    for arn in [
        "aws_lb_target_group.a[0].arn",
        "one(aws_lb_target_group.a[*].arn)",
        "element(aws_lb_target_group.a.*.arn, 0)",
        "join(\"\", aws_lb_target_group.a[*].arn)",
        "try(aws_lb_target_group.a[0].arn, null)",
    ] {
        let action = format!("type = \"forward\"\n target_group_arn = {arn}");
        let imported = of(&listener(&action).replace(SHELL, &counted));
        let default = &checked(&imported).config.listeners[0].default;
        assert!(
            matches!(default, weir::model::Action::Forward(_)),
            "{arn}: {default:?}"
        );
    }
}

#[test]
fn a_reference_to_other_files_becomes_a_named_placeholder() {
    for (arn, name) in [
        ("aws_lb_target_group.other.arn", "other"),
        ("var.group_arn", "group_arn"),
        ("module.web.target_group_arns[0]", "target_group_arns"),
    ] {
        let imported = of(&listener(&format!(
            "type = \"forward\"\n target_group_arn = {arn}"
        )));
        let parsed = checked(&imported);
        let groups = &parsed.config.target_groups;
        let found = groups.iter().find(|group| &*group.id.0 == name);
        assert_eq!(
            found.map(|group| group.targets.len()),
            Some(1),
            "{arn}: {}",
            imported.toml
        );
        listed(
            &imported,
            &[
                "aws_lb_listener.a",
                &format!("the group `{name}` stands for it"),
            ],
        );
        assert!(
            parsed.warnings.to_string().contains("placeholder"),
            "{}",
            parsed.warnings
        );
    }
}
