//! `weir import terraform`: golden files, and broken or unusual files.
//!
//! `UPDATE_GOLDEN=1` writes the current results; read the difference before committing it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};

use proptest::prelude::*;
use weir::config::{self, Parsed};
use weir::tools::import::terraform::{self, Disk, Imported, Options, Runner, SourceFile};
use weir::tools::import::{Note, NoteKind};

fn file(name: &str, text: &str) -> SourceFile {
    SourceFile {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

/// Translates files that refer to no others.
fn import(files: &[SourceFile], options: &Options) -> Imported {
    terraform::import(files, &FolderDisk("/nowhere".into()), options)
}

/// Reads modules and templates below a folder, named relative to it.
struct FolderDisk(PathBuf);

impl Disk for FolderDisk {
    fn folder(&self, path: &Path) -> io::Result<Vec<SourceFile>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.0.join(path))? {
            let name = entry?.file_name().into_string().expect("a name");
            if [".tf", ".tf.json", ".tfvars"]
                .iter()
                .any(|end| name.ends_with(end))
            {
                let name = path.join(name);
                files.push(file(name.to_str().expect("a name"), &self.file(&name)?));
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        fs::read_to_string(self.0.join(path))
    }
}

/// Translates a text as the only file.
fn of(text: &str) -> Imported {
    import(&[file("main.tf", text)], &Options::default())
}

fn beside(name: &str) -> FolderDisk {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terraform");
    FolderDisk(folder.join(name))
}

/// The files of a folder, named relative to it.
fn folder(name: &str) -> Vec<SourceFile> {
    let files = beside(name).folder(Path::new("")).expect("the folder");
    assert!(!files.is_empty(), "{name} has files");
    files
}

/// Parses the configuration; missing programs are only warnings.
fn checked(imported: &Imported) -> Parsed {
    let parsed = config::parse("weir.toml", &imported.toml, &|_| None);
    parsed.unwrap_or_else(|problems| panic!("{problems}\n{}", imported.toml))
}

fn golden(folder_name: &str, options: &Options) -> Imported {
    let beside = beside(folder_name);
    let imported = terraform::import(&folder(folder_name), &beside, options);
    let path = beside.0.join("expected.toml");
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
    imported
        .notes
        .iter()
        .filter(|note| note.kind == NoteKind::NotMapped)
        .collect()
}

fn of_named(name: &str, text: &str) -> Imported {
    import(&[file(name, text)], &Options::default())
}

/// Asserts that there is a note with these parts, and a comment with it in the file.
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
fn the_service_of_the_textbook_is_translated() {
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
    assert_eq!(config.listeners.len(), 3);
    for (line, subject, word) in [
        ("lb.tf:5:", "aws_alb.main", "internal"),
        (
            "lb.tf:26:",
            "aws_security_group_rule.lisbon",
            "var.partners",
        ),
        ("lb.tf:91:", "aws_lb_listener.secure", "no TLS yet"),
        (
            "lb.tf:185:",
            "aws_lb_listener_rule.login",
            "users must pass all",
        ),
        ("lb.tf:212:", "aws_lb_listener_rule.partly", "regex_values"),
        ("lb.tf:278:", "aws_lb_target_group.udp", "UDP"),
        (
            "lb.tf:291:",
            "aws_lb_target_group_attachment.instance",
            "aws_instance.old.id",
        ),
        ("lb.tf:294:", "module.network", "its source is not here"),
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

/// A balancer that is open to all clients, and its group.
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
    let (all, _) = bind(&open);
    assert_eq!(all.bind, "0.0.0.0:81".parse().unwrap());
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
    assert!(imported.toml.contains("port = 2002\n"), "{}", imported.toml);
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
fn large_values_that_many_resources_have_do_not_fill_the_memory() {
    let mut text = format!("locals {{\n big = \"{}\"\n", "x".repeat(200_000));
    for n in 0..200 {
        let _ = writeln!(text, " copy{n} = [local.big]");
    }
    text.push_str("}\nresource \"aws_lb_listener_rule\" \"a\" {\n for_each = toset([for n in range(200) : tostring(n)])\n");
    for n in 0..200 {
        let _ = writeln!(text, " key{n} = local.copy{n}");
    }
    text.push_str("}\nresource \"aws_lb_target_group\" \"a\" { port = local.big }\n");
    let imported = of(&text);
    listed(
        &imported,
        &["aws_lb_listener_rule.a[\"199\"]", "not taken over"],
    );
    assert!(imported.toml.len() < 10_000_000);
}

#[test]
fn no_text_of_the_source_becomes_a_variable_or_another_line_of_the_result() {
    let body = "type = \"fixed-response\"\n fixed_response {\n status_code = 200\n content_type = \"text/plain\"\n message_body = \"a\\n$${HOME} \\\"b\\\" \\\\ \\u0001\"\n}";
    let imported = of(&listener(body));
    let config = checked(&imported).config;
    let weir::model::Action::FixedResponse(answer) = &config.listeners[0].default else {
        panic!("{:?}", config.listeners[0].default);
    };
    assert_eq!(answer.body, "a\n${HOME} \"b\" \\ \u{1}".as_bytes());
    // A note quotes the source.
    let imported =
        of("resource \"aws_lb_target_group\" \"a\" {\n port = <<EOF\n1\n[[evil]]\nEOF\n}");
    assert!(!imported.toml.contains("\n[[evil]]"), "{}", imported.toml);
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

/// A service of the group of [`SHELL`] with a container of these settings.
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
fn modules_are_read_with_their_variables_and_outputs() {
    let imported = golden("modules", &Options::default());
    let config = checked(&imported).config;
    let [listener] = config.listeners.as_slice() else {
        panic!("one listener")
    };
    assert_eq!(listener.bind, "0.0.0.0:80".parse().unwrap());
    let priorities: Vec<_> = listener.rules.iter().map(|rule| rule.priority.0).collect();
    assert_eq!(priorities, [10, 500]);
    let [cart, search] = config.target_groups.as_slice() else {
        panic!("two groups")
    };
    for (group, port, interval, bounds, count) in
        [(cart, 7001, 15, (2, 6), 2), (search, 7002, 15, (1, 2), 1)]
    {
        let health = group.health.as_ref().unwrap();
        let scaling = group.autoscaling.as_ref().unwrap();
        let replicas = group.replicas.as_ref().unwrap();
        assert_eq!(
            (
                group.port,
                health.interval.as_secs(),
                (scaling.min, scaling.max)
            ),
            (Some(port), interval, bounds)
        );
        assert_eq!(replicas.count, Some(count));
        assert_eq!(replicas.allowance.memory, Some(1 << 30));
    }
    for line in [
        "image = \"registry.example.com/cart:7\"",
        "STAGE = \"STAGING\"",
    ] {
        assert!(imported.toml.contains(line), "{line} in {}", imported.toml);
    }
    assert!(not_mapped(&imported).is_empty(), "{:#?}", imported.notes);
}

#[test]
#[allow(clippy::too_many_lines)] // a table
fn common_files_become_a_configuration_that_is_accepted() {
    let imported = golden("common", &Options::default());
    let config = checked(&imported).config;
    let ports: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| listener.bind.port())
        .collect();
    // Port 80 of three balancers, and of a listener that is not in the files.
    assert_eq!(ports, [80, 443, 8080, 8180, 8280]);
    for variable in ["WEIR_BIND_FLEET_0:-", "WEIR_BIND_FLEET_1:-"] {
        assert!(imported.toml.contains(variable), "{}", imported.toml);
    }
    let encrypted = &config.listeners[1];
    let priorities: Vec<_> = encrypted.rules.iter().map(|rule| rule.priority.0).collect();
    // Requests that need a login are not forwarded without it.
    assert_eq!(priorities, [7, 20, 21, 22]);
    let private = &encrypted.rules[0].action;
    assert!(
        matches!(private, weir::model::Action::FixedResponse(answer) if answer.status == 503),
        "{private:?}"
    );
    let group = |name: &str| {
        let found = config
            .target_groups
            .iter()
            .find(|group| &*group.id.0 == name);
        found.unwrap_or_else(|| panic!("{name} in {}", imported.toml))
    };
    assert_eq!(group("fleet_1").targets.len(), 2);
    let scaling = group("site").autoscaling.as_ref().unwrap();
    let schedule: Vec<_> = scaling.schedule.iter().map(|at| (at.min, at.max)).collect();
    assert_eq!(schedule, [(Some(0), Some(1)), (Some(6), Some(6))]);
    assert_eq!(scaling.step_scaling.len(), 1);
    // AWS moves a count outside of the bounds to the next bound.
    assert_eq!(group("site").replicas.as_ref().unwrap().count, Some(4));
    for (subject, word) in [
        ("aws_lb_listener.encrypted", "no TLS yet"),
        ("aws_lb_listener.packets", "TCP"),
        ("aws_lb_target_group.function", "no addresses"),
        (
            "aws_lb_listener.encrypted",
            "`aws_lb_target_group.function` is not taken over",
        ),
        ("aws_lb_listener_rule.first", "users must pass all"),
        ("aws_lb_listener_rule.elsewhere", "`var.listener_arn`"),
        (
            "aws_lb_listener_rule.elsewhere",
            "data.aws_lb_target_group.old",
        ),
        ("aws_autoscaling_group.workers", "placeholder"),
        (
            "aws_lb_listener.fleet[0]",
            "port 80 is taken by the listener `plain`",
        ),
        ("aws_ecs_service.site", "`cluster` is `var.cluster_id`"),
        ("aws_appautoscaling_policy.in", "other side"),
        (
            "aws_cloudwatch_metric_alarm.cpu[\"out\"]",
            "Maximum of the tasks",
        ),
        (
            "aws_appautoscaling_scheduled_action.night",
            "from 0 to 0 replicas",
        ),
    ] {
        listed(&imported, &[subject, word]);
    }
    assert!(
        !imported.toml.contains("cluster = \"cluster_id\""),
        "{}",
        imported.toml
    );
}

#[test]
fn modules_of_the_registry_that_many_use_are_known_without_their_source() {
    let imported = golden("registry", &Options::default());
    let config = checked(&imported).config;
    let listener = |name: &str| {
        let found = config
            .listeners
            .iter()
            .find(|listener| &*listener.id.0 == name);
        found.unwrap_or_else(|| panic!("{name} in {}", imported.toml))
    };
    let group = |name: &str| {
        let found = config
            .target_groups
            .iter()
            .find(|group| &*group.id.0 == name);
        found.unwrap_or_else(|| panic!("{name} in {}", imported.toml))
    };
    let web = listener("alb_web");
    let priorities: Vec<_> = web.rules.iter().map(|rule| rule.priority.0).collect();
    assert_eq!(
        (web.bind, priorities),
        ("0.0.0.0:80".parse().unwrap(), vec![3, 4])
    );
    listener("alb_moved");
    // The older one is reachable from one network: its rule and its own action.
    assert_eq!(listener("older_http-0").rules.len(), 2);
    assert_eq!(group("alb_printer").targets.len(), 1);
    assert_eq!(group("older_0").targets.len(), 1);
    let desk = group("alb_desk");
    let scaling = desk.autoscaling.as_ref().unwrap();
    assert_eq!(
        (scaling.min, scaling.max, scaling.target_tracking.len()),
        (1, 5, 2)
    );
    assert!(
        imported.toml.contains("image = \"example/desk:2\""),
        "{}",
        imported.toml
    );
    listed(&imported, &["module.vpc", "its source is not here"]);
}

#[test]
fn plans_and_states_need_no_evaluation() {
    let read = |path: &str| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terraform");
        let text = fs::read_to_string(root.join(path)).expect("a text");
        import(&[file("standard input", &text)], &Options::default())
    };
    for path in [
        "plan/plan.json",
        "state/show.json",
        "state/terraform.tfstate",
    ] {
        let imported = read(path);
        let config = checked(&imported).config;
        let [listener] = config.listeners.as_slice() else {
            panic!("{path}: one listener")
        };
        assert_eq!(listener.bind, "0.0.0.0:80".parse().unwrap(), "{path}");
        let forwards = listener.rules.iter().map(|rule| match &rule.action {
            weir::model::Action::Forward(forward) => forward.groups[0].0.0.to_string(),
            other => panic!("{path}: {other:?}"),
        });
        let forwards: Vec<_> = forwards.collect();
        assert_eq!(forwards, ["front_hens", "front_pigs"], "{path}");
        let hens = &config.target_groups[0];
        assert_eq!(
            hens.replicas.as_ref().and_then(|run| run.count),
            Some(2),
            "{path}"
        );
        assert_eq!(
            hens.health.as_ref().unwrap().interval.as_secs(),
            10,
            "{path}"
        );
        assert!(
            imported.toml.contains("image = \"example/hens:1\""),
            "{path}"
        );
        assert!(imported.toml.contains("cluster = \"farm\""), "{path}");
        // The only note is that the group `pigs` has no targets.
        let notes = not_mapped(&imported);
        assert_eq!(notes.len(), 1, "{path}: {notes:#?}");
        listed(
            &imported,
            &[
                "module.front.aws_lb_target_group.this[\"pigs\"]",
                "placeholder",
            ],
        );
    }
}

#[test]
fn an_empty_state_is_reported() {
    let text = r#"{"format_version":"1.0","terraform_version":"1.9.8"}"#;
    let imported = of_named("standard input", text);
    listed(&imported, &["standard input:1: the files: no listener"]);
    assert!(config::parse("weir.toml", &imported.toml, &|_| None).is_err());
}

#[test]
fn json_syntax_and_override_files_are_terraform_too() {
    let imported = golden("json", &Options::default());
    let config = checked(&imported).config;
    let listener = &config.listeners[0];
    assert_eq!((listener.bind.port(), listener.rules.len()), (8080, 1));
    let group = &config.target_groups[0];
    assert_eq!((group.port, group.targets.len()), (Some(7300), 1));
    assert!(
        imported.toml.contains("path = \"/ok\""),
        "{}",
        imported.toml
    );
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

#[test]
fn the_last_value_of_a_repeated_key_counts() {
    let imported = of(
        "locals {\n ports = {\n  a = 1\n  \"a\" = 2\n  a = 3\n  b = 4, b = 5\n }\n}\n\
         resource \"aws_lb_target_group\" \"a\" {\n port = local.ports.a * 1000 + local.ports[\"b\"]\n}\n",
    );
    assert!(imported.toml.contains("port = 3005\n"), "{}", imported.toml);
    // Other syntax errors are still reported with their line.
    let imported = of("locals {\n a = { x = 1, x = 2 }\n b = {\n}\n");
    listed(&imported, &["main.tf:", "the whole file: not HCL"]);
}

#[test]
fn values_are_of_the_type_that_their_variables_have() {
    let text = r#"
        variable "ports" { type = list(number) }
        variable "on" { type = bool }
        variable "name" { type = string }
        resource "aws_lb_target_group" "a" {
          port = var.on ? var.ports[1] : 1
          health_check { path = "/${var.name}" }
        }
    "#;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let options = Options {
        environment: vec![
            pair("ports", "[7, 8]"),
            pair("on", "true"),
            pair("name", "env"),
        ],
        variables: vec![pair("name", "line")],
        ..Options::default()
    };
    let imported = import(&[file("main.tf", text)], &options);
    assert!(imported.toml.contains("port = 8\n"), "{}", imported.toml);
    assert!(
        imported.toml.contains("path = \"/line\"\n"),
        "{}",
        imported.toml
    );
}

#[test]
#[allow(clippy::too_many_lines)] // a table
fn functions_and_expressions_have_terraforms_values() {
    for (expression, value) in [
        ("lower(\"A\")", "/a"),
        ("replace(\"a-b\", \"-\", \"_\")", "/a_b"),
        ("replace(\"a1b22\", \"/[0-9]+/\", \"-\")", "/a-b-"),
        ("format(\"%s-%03d%%\", \"a\", 7)", "/a-007%"),
        ("join(\"-\", [for n in range(3) : n if n != 1])", "/0-2"),
        (
            "join(\",\", sort(distinct(concat([\"b\"], [\"a\", \"b\"]))))",
            "/a,b",
        ),
        ("join(\"\", keys({ b = 1, a = 2 }))", "/ab"),
        (
            "join(\"\", values({ for k, v in { x = 1 } : k => v + 1 }))",
            "/2",
        ),
        ("join(\"\", flatten([[\"a\"], [[\"b\"]]]))", "/ab"),
        ("join(\"\", [{ n = 1 }, { n = 2 }][*].n)", "/12"),
        ("lookup({ a = 1 }, \"b\", \"c\")", "/c"),
        ("coalesce(\"\", null, \"c\")", "/c"),
        ("try({ a = 1 }.b, [1][3], \"c\")", "/c"),
        ("can({ a = 1 }.b) ? 1 : 2", "/2"),
        (
            "contains([\"a\"], \"a\") && !false ? \"yes\" : \"no\"",
            "/yes",
        ),
        ("element([\"a\", \"b\"], 3)", "/b"),
        ("merge({ a = 1 }, { a = 2 }...)[\"a\"]", "`merge"),
        ("max([1, 5, 3]...)", "/5"),
        ("jsondecode(\"{\\\"a\\\": [1, 2]}\").a[1]", "/2"),
        ("trimsuffix(trimprefix(\"xay\", \"x\"), \"y\")", "/a"),
        ("split(\",\", \"a,b\")[1]", "/b"),
        ("\"%{ if 1 < 2 }a%{ else }b%{ endif }\"", "/a"),
        ("\"%{ for x in [1, 2] }${x};%{ endfor }\"", "/1;2;"),
        ("zipmap([\"a\"], [7]).a", "/7"),
        ("toset([\"b\", \"a\", \"b\"])[0]", "/a"),
        ("length(setsubtract([\"a\", \"b\"], [\"a\"]))", "/1"),
        ("title(\"one two\")", "/One Two"),
        ("substr(\"hello\", 1, 3)", "/ell"),
        ("5 % 3 + 7 / 2", "/5.5"),
        ("sha256(\"a\")", "`sha256"),
        ("upper(var.unknown)", "`upper(var.unknown)`"),
    ] {
        let imported = of(&format!(
            "locals {{\n x = {expression}\n}}\nresource \"aws_lb_target_group\" \"a\" {{\n health_check {{\n \
             path = \"/${{local.x}}\"\n}}\n}}\n"
        ));
        let is_there = if value.starts_with('/') {
            imported.toml.contains(&format!("path = \"{value}\"\n"))
        } else {
            imported
                .notes
                .iter()
                .any(|note| note.message.contains(value))
        };
        assert!(is_there, "{expression}: {}", imported.toml);
    }
}

#[test]
fn modules_that_terraform_has_fetched_are_read() {
    /// A folder after `terraform init`.
    struct Fetched;
    impl Disk for Fetched {
        fn folder(&self, path: &Path) -> io::Result<Vec<SourceFile>> {
            let group = "variable \"port\" {}\nresource \"aws_lb_target_group\" \"this\" {\n port = var.port\n}\n";
            match path.to_str() {
                Some("infra/.terraform/modules/web") => Ok(vec![file("web/main.tf", group)]),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }

        fn file(&self, path: &Path) -> io::Result<String> {
            match path.to_str() {
                Some("infra/.terraform/modules/modules.json") => Ok(
                    "{\"Modules\":[{\"Key\":\"\",\"Dir\":\".\"},{\"Key\":\"web\",\"Dir\":\".terraform/modules/web\"}]}"
                        .to_owned(),
                ),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }
    }
    let text = "module \"web\" {\n source = \"example/web/aws\"\n port = 7400\n}\n";
    let files = [file("infra/main.tf", text)];
    let imported = terraform::import(&files, &Fetched, &Options::default());
    let group = &checked(&imported).config.target_groups[0];
    assert_eq!((&*group.id.0, group.port), ("web", Some(7400)));
}

#[test]
fn modules_that_call_themselves_end() {
    /// A folder in which every module is the same one.
    struct Mirror(String);
    impl Disk for Mirror {
        fn folder(&self, _: &Path) -> io::Result<Vec<SourceFile>> {
            Ok(vec![file("main.tf", &self.0)])
        }

        fn file(&self, _: &Path) -> io::Result<String> {
            Err(io::ErrorKind::NotFound.into())
        }
    }
    let text = "variable \"n\" {\n default = 0\n}\n\
                module \"again\" {\n source = \"./again\"\n count = 2\n n = var.n + 1\n}\n\
                locals {\n a = local.b\n b = [local.a]\n}\n\
                resource \"aws_lb_target_group\" \"a\" {\n port = local.a\n}\n";
    let files = [file("main.tf", text)];
    let imported = terraform::import(&files, &Mirror(text.to_owned()), &Options::default());
    listed(&imported, &["aws_lb_target_group.a", "refers to itself"]);
    assert!(imported.toml.len() < 1_000_000);
}

/// Tokens of Terraform files in a random order.
fn random_tokens() -> impl Strategy<Value = String> {
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
    fn any_text_is_translated_or_listed(text in prop_oneof![random_tokens(), ".*"]) {
        let imported = of(&text);
        // The result is always TOML.
        prop_assert!(toml::from_str::<toml::Table>(&imported.toml).is_ok(), "{}", imported.toml);
    }

    #[test]
    fn a_plan_that_is_not_whole_is_translated_or_listed(
        cut in 0_usize..14_000,
        length in 1_usize..400,
        instead in prop::sample::select(vec!["", "null", "[]", "{}", "\"module.front.\"", "-1", "[["]),
    ) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terraform/plan/plan.json");
        let mut text = fs::read_to_string(path).unwrap();
        let cut = cut.min(text.len());
        let end = (cut + length).min(text.len());
        text.replace_range(cut..end, instead);
        let imported = of_named("standard input", &text);
        prop_assert!(toml::from_str::<toml::Table>(&imported.toml).is_ok(), "{}", imported.toml);
    }
}
