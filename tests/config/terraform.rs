//! `weir import terraform`: golden files, and files that are broken or strange.
//!
//! `UPDATE_GOLDEN=1` writes what is there now; read the difference before it is committed.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use weir::config::{self, Parsed};
use weir::import::terraform::{Imported, Options, Runner, SourceFile, import};
use weir::import::{Note, NoteKind};

fn file(name: &str, text: &str) -> SourceFile {
    SourceFile {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

/// A text as the only file.
fn of(text: &str) -> Imported {
    import(&[file("main.tf", text)], &Options::default())
}

/// The files of a folder, named without it.
fn folder(name: &str) -> Vec<SourceFile> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/terraform")
        .join(name);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "tf") {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .expect("a name");
            files.push(file(name, &fs::read_to_string(&path).expect("a text")));
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(files.len() > 1, "{name} has several files");
    files
}

/// What Weir makes of it; a program that is not installed here is none of its mistakes.
fn checked(imported: &Imported) -> Parsed {
    let parsed = config::parse("weir.toml", &imported.toml, &|_| None);
    parsed.unwrap_or_else(|problems| panic!("{problems}\n{}", imported.toml))
}

fn golden(folder_name: &str, options: &Options) -> Imported {
    let imported = import(&folder(folder_name), options);
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/terraform")
        .join(folder_name)
        .join("expected.toml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &imported.toml).expect("a file");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        imported.toml == expected,
        "{} is not\n{}",
        path.display(),
        imported.toml
    );
    imported
}

fn not_mapped(imported: &Imported) -> Vec<&Note> {
    let notes = imported.notes.iter();
    notes
        .filter(|note| note.kind == NoteKind::NotMapped)
        .collect()
}

/// Asserts that something is listed, in stderr's notes and in the file.
#[track_caller]
fn listed(imported: &Imported, parts: &[&str]) {
    let found = imported.notes.iter().find(|note| {
        let line = note.to_string();
        parts.iter().all(|part| line.contains(part))
    });
    let Some(note) = found else {
        panic!("nothing with {parts:?} in {:#?}", imported.notes);
    };
    let comment = format!("#   {note}\n");
    assert!(
        imported.toml.contains(&comment),
        "{comment} in {}",
        imported.toml
    );
}

#[test]
fn the_service_of_the_textbook_becomes_the_same_here() {
    use config::{Metric, Probe, Profile, Runner as By};
    let imported = golden("taskoverflow", &Options::default());
    let config = checked(&imported).config;
    let [listener] = config.listeners.as_slice() else {
        panic!("one listener")
    };
    assert_eq!(listener.bind, "0.0.0.0:80".parse().unwrap());
    let [group] = config.target_groups.as_slice() else {
        panic!("one group")
    };
    assert_eq!(group.port, Some(6400));
    let health = group.health.as_ref().unwrap();
    assert_eq!(
        (health.thresholds.healthy, health.thresholds.unhealthy),
        (2, 2)
    );
    assert_eq!(
        (health.timeout.as_secs(), health.interval.as_secs()),
        (5, 10)
    );
    // Each replica is checked at its own port, which is not 6400 on this machine.
    assert_eq!(health.port, None);
    let Probe::Http(probe) = &health.probe else {
        panic!("an HTTP check")
    };
    assert_eq!(
        (probe.path.as_str(), probe.matcher.as_slice()),
        ("/api/v1/health", &[(200, 200)][..])
    );
    let replicas = group.replicas.as_ref().unwrap();
    assert!(matches!(replicas.runner, By::Process(_)));
    assert_eq!(
        (replicas.allowance.cpus, replicas.allowance.memory),
        (Some(1.0), Some(2 << 30))
    );
    let scaling = group.autoscaling.as_ref().unwrap();
    assert_eq!(
        (scaling.min, scaling.max, scaling.profile),
        (1, 4, Profile::Aws)
    );
    let [tracking] = scaling.target_tracking.as_slice() else {
        panic!("one policy")
    };
    assert_eq!(
        (&tracking.metric, tracking.target, tracking.scale_in),
        (&Metric::Cpu, 20.0, true)
    );
    // The database has no address here; nothing else is lost.
    assert_eq!(
        not_mapped(&imported).len(),
        2,
        "{:#?}",
        not_mapped(&imported)
    );
    listed(
        &imported,
        &["ecs.tf:", "DATABASE_URL", "aws_db_instance.service.address"],
    );
}

#[test]
#[allow(clippy::too_many_lines)] // a table
fn every_kind_of_resource_is_taken_over_or_listed() {
    let options = Options {
        runner: Runner::Docker,
        ..Options::default()
    };
    let imported = golden("everything", &options);
    let config = checked(&imported).config;
    assert_eq!(config.listeners.len(), 2);
    for (line, subject, word) in [
        ("lb.tf:5:", "aws_alb.main", "internal"),
        (
            "lb.tf:26:",
            "aws_security_group_rule.lisbon",
            "var.partners",
        ),
        ("lb.tf:88:", "aws_lb_listener.secure", "HTTPS"),
        ("lb.tf:181:", "aws_lb_listener_rule.login", "partly"),
        ("lb.tf:212:", "aws_lb_listener_rule.partly", "regex_values"),
        (
            "lb.tf:217:",
            "aws_lb_listener_rule.elsewhere",
            "not taken over",
        ),
        ("lb.tf:267:", "aws_lb_target_group.many", "for_each"),
        ("lb.tf:278:", "aws_lb_target_group.udp", "UDP"),
        (
            "lb.tf:291:",
            "aws_lb_target_group_attachment.instance",
            "aws_instance.old.id",
        ),
        ("lb.tf:294:", "module.network", "modules are not read"),
        (
            "service.tf:22:",
            "aws_ecs_service.blue",
            "service_connect_configuration",
        ),
        (
            "service.tf:27:",
            "aws_ecs_service.worker",
            "without a load balancer",
        ),
        ("service.tf:36:", "aws_ecs_task_definition.blue", "secrets"),
        ("service.tf:36:", "aws_ecs_task_definition.blue", "sidecar"),
        (
            "service.tf:",
            "aws_appautoscaling_policy.requests",
            "20 s of high resolution",
        ),
        (
            "service.tf:",
            "aws_appautoscaling_policy.queue",
            "customized",
        ),
        ("service.tf:", "aws_appautoscaling_policy.idle", "no alarm"),
        (
            "service.tf:",
            "aws_appautoscaling_scheduled_action.month_end",
            "L * ? *",
        ),
        ("service.tf:", "aws_lambda_function.other", "no counterpart"),
    ] {
        listed(&imported, &[line, subject, word]);
    }
}

/// A balancer that everybody may reach, and its group.
const SHELL: &str = r#"
resource "aws_lb" "a" { security_groups = [aws_security_group.a.id] }
resource "aws_security_group" "a" {
  ingress {
    from_port = 80
    to_port = 90
    protocol = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
}
resource "aws_lb_target_group" "a" {
  port = 80
  protocol = "HTTP"
}
"#;

fn listener(default_action: &str) -> String {
    format!(
        "{SHELL}resource \"aws_lb_listener\" \"a\" {{\n load_balancer_arn = aws_lb.a.arn\n \
         port = 81\n default_action {{\n{default_action}\n}}\n}}\n"
    )
}

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
    let (everybody, _) = bind(&open);
    assert_eq!(everybody.bind, "0.0.0.0:81".parse().unwrap());
    let (v6, _) = bind(&open.replace(
        "cidr_blocks = [\"0.0.0.0/0\"]",
        "ipv6_cidr_blocks = [\"::/0\"]",
    ));
    assert_eq!(v6.bind, "[::]:81".parse().unwrap());
    let (some, _) = bind(&open.replace("0.0.0.0/0", "192.0.2.0/24"));
    assert_eq!(
        (some.bind.ip().is_unspecified(), some.rules.len()),
        (true, 1)
    );
    assert!(
        matches!(&some.default, weir::model::Action::FixedResponse(answer) if answer.status == 403)
    );
    // Nobody, a port that is not let in, a group that is not here: closed, and said so.
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
        listed(&imported, &["aws_lb_listener.a", "who may reach port 81"]);
    }
}

#[test]
fn an_action_that_is_not_understood_serves_nobody() {
    for action in [
        "type = \"authenticate-oidc\"",
        "type = \"forward\"\n target_group_arn = aws_lb_target_group.other.arn",
        "type = \"forward\"\n target_group_arn = var.group",
        "type = \"redirect\"",
        "",
    ] {
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
fn values_come_from_variables_locals_and_the_command_line() {
    let text = r#"
        variable "port" { default = 1000 }
        locals {
          base   = var.port
          middle = local.base + 1
          last   = var.high ? local.middle * 2 : local.middle
        }
        resource "aws_lb_target_group" "a" {
          port     = local.last
          protocol = upper("http")
          health_check { path = "/${join("/", ["a", var.name])}" }
        }
    "#;
    let options = Options {
        variables: vec![
            ("high".to_owned(), "true".to_owned()),
            ("name".to_owned(), "b".to_owned()),
        ],
        ..Options::default()
    };
    let files = [
        file("main.tf", text),
        file("terraform.tfvars", "port = 2000\nhigh = true\n"),
    ];
    let imported = import(&files[..1], &options);
    listed(&imported, &["`port` is `", "which is not known here"]);
    let options = Options {
        variables: vec![("name".to_owned(), "b".to_owned())],
        ..Options::default()
    };
    let imported = import(&files, &options);
    assert!(imported.toml.contains("port = 4002\n"), "{}", imported.toml);
    assert!(
        imported.toml.contains("path = \"/a/b\"\n"),
        "{}",
        imported.toml
    );
}

#[test]
fn values_that_double_each_other_do_not_fill_the_memory() {
    let mut text = String::from("locals {\n a0 = \"0123456789\"\n");
    for n in 1..60 {
        let before = format!("${{local.a{}}}", n - 1);
        let _ = writeln!(text, " a{n} = \"{before}{before}{before}{before}\"");
    }
    text.push_str("}\nresource \"aws_lb_target_group\" \"a\" { port = local.a59 }\n");
    let imported = of(&text);
    listed(&imported, &["aws_lb_target_group.a", "not known here"]);
    assert!(imported.toml.len() < 100_000);
}

#[test]
fn nothing_of_the_source_becomes_a_variable_or_another_line_of_the_result() {
    let body = "type = \"fixed-response\"\n fixed_response {\n status_code = 200\n content_type = \"text/plain\"\n message_body = \"a\\n$${HOME} \\\"b\\\" \\\\ \\u0001\"\n}";
    let imported = of(&listener(body));
    let config = checked(&imported).config;
    let weir::model::Action::FixedResponse(answer) = &config.listeners[0].default else {
        panic!("{:?}", config.listeners[0].default);
    };
    assert_eq!(answer.body, "a\n${HOME} \"b\" \\ \u{1}".as_bytes());
    // A note quotes what is written there.
    let imported =
        of("resource \"aws_lb_target_group\" \"a\" {\n port = <<EOF\n1\n[[listener]]\nEOF\n}");
    assert!(
        !imported.toml.contains("\n[[listener]]"),
        "{}",
        imported.toml
    );
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
    assert!(not_mapped(&mapped).is_empty(), "{:#?}", mapped.notes);
    let set = rules(
        "toset([\"1\", \"2\"])",
        "each.key + 30",
        "[\"/${each.value}\"]",
    );
    assert_eq!(found(&set), [31, 32]);
    assert!(found(&rules("{}", "1", "[\"/\"]")).is_empty());
    // What is not known of one of them costs that one alone.
    let partly = rules(
        "{ a = \"/a\", b = var.path }",
        "each.key == \"a\" ? 1 : 2",
        "[each.value]",
    );
    assert_eq!(found(&partly), [1]);
    listed(&partly, &["aws_lb_listener_rule.r[\"b\"]", "var.path"]);
    for unknown in ["var.rules", "{ for k, v in var.all : k => v }", "[1, 2]"] {
        let imported = rules(unknown, "1", "[\"/\"]");
        assert!(found(&imported).is_empty());
        listed(
            &imported,
            &["aws_lb_listener_rule.r", "`for_each` makes several"],
        );
    }
}

/// A service of the group of [`SHELL`] whose container has these settings.
fn service(container: &str) -> String {
    format!(
        "{SHELL}resource \"aws_ecs_task_definition\" \"a\" {{\n container_definitions = \
         jsonencode([{{\n name = \"a\"\n{container}\n}}])\n}}\n\
         resource \"aws_ecs_service\" \"a\" {{\n task_definition = aws_ecs_task_definition.a.arn\n \
         load_balancer {{\n target_group_arn = aws_lb_target_group.a.arn\n \
         container_name = \"a\"\n container_port = 80\n}}\n}}\n"
    )
}

#[test]
fn what_is_not_known_of_a_container_is_listed() {
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

/// Words that Terraform files are made of, put together at random.
fn soup() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "resource",
        "\"aws_lb\"",
        "\"aws_lb_listener\"",
        "\"aws_ecs_service\"",
        "\"a\"",
        "{",
        "}",
        "{\n",
        "\n}\n",
        "=",
        "port = 80\n",
        "default_action {\n",
        "type = \"forward\"\n",
        "[",
        "]",
        "aws_lb.a.arn",
        "\"${",
        "}\"",
        "var.a",
        "local.b[0]",
        "count = 1\n",
        "for_each = {}\n",
        "dynamic",
        "?",
        ":",
        "(",
        ")",
        "<<EOF\n",
        "EOF\n",
        "\n",
        ",",
        "*",
        "-1",
        "1e999",
        "%{ if true }",
        "locals {\na = local.a\n}\n",
    ]);
    prop::collection::vec(words, 0..40).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn any_text_is_translated_or_listed(text in prop_oneof![soup(), ".*"]) {
        let imported = of(&text);
        // Whatever it says, the result is TOML.
        prop_assert!(toml::from_str::<toml::Table>(&imported.toml).is_ok(), "{}", imported.toml);
    }
}
