//! Variables, expressions, functions and modules; hostile input.

use std::fmt::Write;

use proptest::prelude::*;

use super::*;

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
