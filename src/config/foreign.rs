//! Files of other programs, recognized by their first lines.
//!
//! A file that is not TOML has an error in every line; one sentence that says what it is and what
//! Weir reads instead helps more.

use toml::de::DeTable;

use super::context::Context;
use super::problem::{Code, Problem, Severity};
use super::span::Span;

/// Most lines that are looked at: the format of a file shows early.
const MAX_LINES: usize = 400;

/// The smallest useful file.
const EXAMPLE: &str = "write a file like\n    [[listener]]\n    bind = \"0.0.0.0:8080\"\n    forward = \"web\"\n    \
                       [target_group.web]\n    targets = [\"10.0.0.1:6400\"]";

/// The format of a file that is not a configuration of Weir.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    /// Name of the format with its article.
    name: &'static str,
    help: Help,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Help {
    /// An example of five lines.
    Example,
    /// The command that imports it.
    Import,
    /// Another sentence, for a file that belongs to something else.
    Other(&'static str),
}

const fn example(name: &'static str) -> Foreign {
    Foreign {
        name,
        help: Help::Example,
    }
}

const fn other(name: &'static str, help: &'static str) -> Foreign {
    Foreign {
        name,
        help: Help::Other(help),
    }
}

/// Help for a file that was named by mistake.
const ANOTHER_FILE: &str = "name the configuration file instead";

const TERRAFORM: Foreign = Foreign {
    name: "a Terraform file",
    help: Help::Import,
};

impl Foreign {
    /// Reports the format at the first line of the file.
    pub(super) fn report(self, cx: &Context<'_>) {
        let start = cx.text.len() - cx.text.trim_start().len();
        let end = start + cx.text[start..].lines().next().unwrap_or_default().len();
        let message = format!("this is {}; Weir has a TOML file of its own", self.name);
        let help = match self.help {
            Help::Example => EXAMPLE,
            Help::Import => "make a configuration of it: weir import terraform FOLDER -o weir.toml",
            Help::Other(help) => help,
        };
        cx.report(Problem::new(
            Severity::Error,
            Code::OtherFormat,
            String::new(),
            message,
            Some(help.to_owned()),
            Some(Span { start, end }),
        ));
    }
}

/// The format of a text with syntax errors, if it is clearly another one.
pub(super) fn recognize(text: &str) -> Option<Foreign> {
    let lines: Vec<_> = significant_lines(text).collect();
    let first = lines.first()?.trim();
    by_first_line(text, first)
        .or_else(|| by_blocks(&lines))
        .or_else(|| sections(&lines))
        .or_else(|| yaml(&lines))
}

/// Lines that are neither empty nor comments, without the space at their ends.
fn significant_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take(MAX_LINES)
        .map(str::trim_end)
        .filter(|line| {
            let text = line.trim_start();
            !text.is_empty() && (!text.starts_with('#') || text.starts_with("#!"))
        })
}

/// Formats with a first line that no other format has.
fn by_first_line(text: &str, first: &str) -> Option<Foreign> {
    let lower = first.to_ascii_lowercase();
    let starts = |words: &[&str]| words.iter().any(|word| lower.starts_with(word));
    if (first.starts_with('{') && !first.starts_with("{{")) || starts(&["[{"]) || lower == "[" {
        return json(text);
    }
    if starts(&["<!doctype html", "<html"]) {
        let help = "a download that failed? look at the file in a browser";
        return Some(other("an HTML page", help));
    }
    if starts(&["<virtualhost", "<ifmodule", "<proxy"]) {
        return Some(example("an Apache httpd configuration"));
    }
    if first.starts_with('<') && !first.starts_with("<<") {
        return Some(example("XML"));
    }
    if first.starts_with("-----BEGIN") {
        return Some(other("a certificate or a key", ANOTHER_FILE));
    }
    if first.starts_with("#!") {
        return Some(other("a script", ANOTHER_FILE));
    }
    if starts(&["---", "%yaml"]) {
        let rest: Vec<_> = significant_lines(text).skip(1).collect();
        return yaml(&rest).or(Some(example("YAML")));
    }
    None
}

/// JSON begins with a bracket, and so do a list of TOML that lost its key and a Caddyfile.
fn json(text: &str) -> Option<Foreign> {
    let has = |word: &str| text.contains(word);
    if !has("\":") && !has("\" :") {
        return None;
    }
    Some(
        if has("\"terraform_version\"") || has("\"planned_values\"") {
            TERRAFORM
        } else if has("\"static_resources\"") {
            example("an Envoy configuration in JSON")
        } else if has("\"apps\"") && has("\"handle\"") {
            example("a Caddy configuration in JSON")
        } else {
            example("JSON")
        },
    )
}

/// Formats of blocks and directives.
fn by_blocks(lines: &[&str]) -> Option<Foreign> {
    const TERRAFORM_BLOCKS: [&str; 8] = [
        "resource",
        "module",
        "variable",
        "provider",
        "data",
        "terraform",
        "locals",
        "output",
    ];
    let any = |is: &dyn Fn(&str) -> bool| lines.iter().any(|line| is(line.trim()));
    if any(&|line| opens(line, &TERRAFORM_BLOCKS)) {
        return Some(TERRAFORM);
    }
    if any(&|line| opens(line, &["job", "service", "check", "template"])) {
        return Some(example("an HCL file"));
    }
    if any(&|line| line.starts_with("vcl 4")) {
        return Some(example("a Varnish configuration"));
    }
    if any(&|line| directive(line, &["reverse_proxy", "file_server", "php_fastcgi"])) {
        return Some(example("a Caddyfile"));
    }
    if is_nginx(lines) {
        return Some(example("an nginx configuration"));
    }
    if is_haproxy(lines) {
        return Some(example("an HAProxy configuration"));
    }
    let steps = ["RUN", "CMD", "COPY", "ENTRYPOINT"];
    if any(&|line| directive(line, &["FROM"])) && any(&|line| directive(line, &steps)) {
        return Some(other("a Dockerfile", ANOTHER_FILE));
    }
    let httpd = [
        "ProxyPass",
        "ServerName",
        "BalancerMember",
        "LoadModule",
        "DocumentRoot",
    ];
    any(&|line| directive(line, &httpd)).then(|| example("an Apache httpd configuration"))
}

/// A block like `server {`.
fn opens(line: &str, words: &[&str]) -> bool {
    let word = line.split([' ', '{']).next().unwrap_or_default();
    words.contains(&word) && line.contains('{') && !line.contains(" = ")
}

/// A word and its arguments, without a `=`.
fn directive(line: &str, words: &[&str]) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    words.contains(&word) && !line.contains('=')
}

fn is_nginx(lines: &[&str]) -> bool {
    const BLOCKS: [&str; 6] = ["server", "http", "upstream", "events", "stream", "location"];
    const STATEMENTS: [&str; 5] = [
        "server",
        "proxy_pass",
        "listen",
        "server_name",
        "worker_processes",
    ];
    let block = lines.iter().any(|line| opens(line.trim(), &BLOCKS));
    let statement = |line: &&&str| line.ends_with(';') && directive(line.trim(), &STATEMENTS);
    let ours = lines.iter().any(|line| line.starts_with('['));
    (block || lines.iter().any(|line| statement(&line))) && !ours
}

fn is_haproxy(lines: &[&str]) -> bool {
    const SECTIONS: [&str; 5] = ["global", "defaults", "frontend", "backend", "listen"];
    const KEYWORDS: [&str; 8] = [
        "mode",
        "bind",
        "server",
        "balance",
        "default_backend",
        "timeout",
        "option",
        "maxconn",
    ];
    // At the left margin, and without the colons that other formats have there.
    let section =
        |line: &&str| directive(line, &SECTIONS) && !line.starts_with(' ') && !line.contains(':');
    let sections = lines.iter().any(section);
    sections && lines.iter().any(|line| directive(line.trim(), &KEYWORDS))
}

/// INI files, systemd units and environment files: headers of other names, values without quotes.
fn sections(lines: &[&str]) -> Option<Foreign> {
    let headers: Vec<_> = lines
        .iter()
        .filter_map(|line| {
            let name = line.strip_prefix('[')?.strip_suffix(']')?;
            (!name.starts_with('[')).then(|| name.to_owned())
        })
        .collect();
    if headers
        .iter()
        .any(|name| matches!(&**name, "Unit" | "Service" | "Install"))
    {
        let help = "its ExecStart names the configuration file: weir run --config FILE";
        return Some(other("a systemd unit", help));
    }
    let ours = ["listener", "target", "admin", "shutdown"];
    let known = |name: &String| {
        ours.iter()
            .any(|word| name.to_lowercase().starts_with(word))
    };
    let bare = |line: &&&str| {
        let value = line.split_once('=').map(|(_, value)| value.trim());
        let quoted = |value: &str| {
            value.starts_with(['"', '\'', '[', '{'])
                || value.parse::<f64>().is_ok()
                || matches!(value, "true" | "false")
        };
        value.is_some_and(|value| !quoted(value))
    };
    let foreign = !headers.is_empty() && !headers.iter().any(known);
    if foreign && lines.iter().filter(bare).count() > 0 {
        return Some(example("an INI file"));
    }
    let variable = |line: &&str| {
        let name = line
            .strip_prefix("export ")
            .unwrap_or(line)
            .split('=')
            .next();
        let upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        line.contains('=') && name.is_some_and(|name| !name.is_empty() && name.chars().all(upper))
    };
    let environment = headers.is_empty() && lines.iter().all(variable);
    environment.then(|| {
        let help = "variables are read from the environment: targets = \"${TARGETS}\" in the configuration";
        other("a file of environment variables", help)
    })
}

/// YAML and what is written in it. Lines of `key: value` alone may be TOML with the wrong sign.
fn yaml(lines: &[&str]) -> Option<Foreign> {
    let item = |line: &str| line.trim_start().starts_with("- ") || line.trim() == "-";
    let pair = |line: &str| {
        let text = line.trim_start().trim_start_matches("- ");
        let key = text.split(':').next().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-./\"'{} ".contains(c);
        let rest = text.get(key.len()..).unwrap_or_default();
        !key.is_empty() && key.chars().all(plain) && (rest == ":" || rest.starts_with(": "))
    };
    let like = lines.iter().filter(|line| item(line) || pair(line)).count();
    let nested = lines
        .iter()
        .any(|line| item(line) || (pair(line) && line.ends_with(':')));
    let toml = lines
        .iter()
        .any(|line| line.starts_with('[') || line.contains(" = "));
    if !nested || toml || like * 10 < lines.len() * 6 {
        return None;
    }
    let has = |word: &str| {
        lines
            .iter()
            .any(|line| line.trim_start().trim_start_matches("- ").starts_with(word))
    };
    let kinds: [(&[&str], &str); 6] = [
        (&["apiVersion:"], "a Kubernetes manifest"),
        (&["services:"], "a docker-compose file"),
        (
            &["static_resources:", "filter_chains:"],
            "an Envoy configuration in YAML",
        ),
        (
            &["entryPoints:", "routers:", "loadBalancer:"],
            "a Traefik configuration in YAML",
        ),
        (&["scrape_configs:"], "a Prometheus configuration"),
        (
            &["AWSTemplateFormatVersion:", "Resources:"],
            "a CloudFormation template",
        ),
    ];
    // Traefik has `services:` too.
    let mut kinds: Vec<_> = kinds
        .into_iter()
        .filter(|(words, _)| words.iter().any(|word| has(word)))
        .collect();
    kinds.retain(|(_, name)| !name.contains("compose") || has("image:") || has("build:"));
    Some(example(kinds.first().map_or("YAML", |(_, name)| *name)))
}

/// Keys of the top level that only another program's TOML has.
pub(super) fn by_keys(file: &DeTable<'_>) -> Option<Foreign> {
    let has = |key: &str| {
        file.keys()
            .any(|other| other.get_ref().eq_ignore_ascii_case(key))
    };
    if has("listener") || has("target_group") {
        return None;
    }
    if ["entryPoints", "certificatesResolvers", "providers", "http"]
        .iter()
        .any(|key| has(key))
    {
        return Some(example("a Traefik configuration"));
    }
    if has("package") && (has("dependencies") || has("lib") || has("bin")) {
        return Some(other("a Cargo manifest", ANOTHER_FILE));
    }
    if has("build-system") || (has("project") && has("tool")) {
        return Some(other("a Python project file", ANOTHER_FILE));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> &'static str {
        recognize(text).map_or("", |foreign| foreign.name)
    }

    #[test]
    fn files_of_other_programs_are_told_apart() {
        let cases = [
            ("{\n  \"listen\": 80\n}", "JSON"),
            ("[\n {\"a\": 1}\n]", "JSON"),
            ("<?xml version=\"1.0\"?><a/>", "XML"),
            ("server {\n    listen 80;\n}", "an nginx configuration"),
            (
                "upstream a {\n  server 10.0.0.1;\n}\n",
                "an nginx configuration",
            ),
            ("proxy_pass http://a;\n", "an nginx configuration"),
            (
                "global\n    maxconn 10\nfrontend a\n    bind *:80\n",
                "an HAProxy configuration",
            ),
            ("example.com {\n    reverse_proxy a:80\n}", "a Caddyfile"),
            (":80 {\n\treverse_proxy a:80\n}", "a Caddyfile"),
            (
                "{\n  email a@b.c\n}\nexample.com {\n reverse_proxy a\n}",
                "a Caddyfile",
            ),
            (
                "resource \"aws_lb\" \"a\" {\n  name = \"a\"\n}",
                "a Terraform file",
            ),
            (
                "version: '3'\nservices:\n  web:\n    image: nginx\n",
                "a docker-compose file",
            ),
            (
                "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n",
                "a Kubernetes manifest",
            ),
            (
                "static_resources:\n  listeners:\n  - name: a\n",
                "an Envoy configuration in YAML",
            ),
            ("listener:\n  - bind: 0.0.0.0:80\n", "YAML"),
            (
                "[server]\nport = 80\nhost = a.example\n; comment\n",
                "an INI file",
            ),
            (
                "[Unit]\nDescription=a b\n[Service]\nExecStart=/bin/a\n",
                "a systemd unit",
            ),
            (
                "PORT=80\nHOST=a.example\n",
                "a file of environment variables",
            ),
            ("FROM alpine\nRUN apk add curl\n", "a Dockerfile"),
        ];
        for (text, expected) in cases {
            assert_eq!(name(text), expected, "{text}");
        }
    }

    #[test]
    fn a_configuration_with_a_slip_is_none_of_them() {
        let texts = [
            "[[listener]]\nbind: \"0.0.0.0:80\"\nforward: \"web\"\n",
            "[[listener]]\nbind = 0.0.0.0:80;\nforward = web;\n",
            "[listener]\nbind = 0.0.0.0:80\n[target_group.web]\ntargets = a:80\n",
            "bind: 0.0.0.0:80\nforward: web\n",
            "[[listener]]\nbind \"0.0.0.0:80\"\n",
            "[[listener]]\n// a comment\nbind = \"0.0.0.0:80\"\n",
            "<<<<<<< HEAD\n[[listener]]\n=======\n>>>>>>> a\n",
        ];
        for text in texts {
            assert_eq!(name(text), "", "{text}");
        }
    }
}
