//! Files of a hundred thousand lines, good and bad, take time in proportion to their length.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use weir::config::{self, Problems, Severity};

/// Makes a file of about so many lines.
type Make = fn(usize) -> String;

fn problems(text: &str) -> Problems {
    match config::parse("large.toml", text, &|_| None) {
        Ok(parsed) => parsed.warnings,
        Err(problems) => problems,
    }
}

/// `count` lines, each made of its number.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for n in 0..count {
        let _ = writeln!(text, "{}", line(n));
    }
    text
}

const LISTENER: &str = "[[listener]]\nbind = \"127.0.0.1:8080\"\nforward = \"web\"\n";
const GROUP: &str = "[target_group.web]\ntargets = \"10.0.0.1:80\"\n";

fn unknown_keys(count: usize) -> String {
    lines(count, |n| format!("forwad{n} = 1")) + LISTENER + GROUP
}

fn unknown_groups(count: usize) -> String {
    let listener = |n| {
        format!("[[listener]]\nbind = \"127.0.0.1:0\"\nname = \"l{n}\"\nforward = \"group-x{n}\"")
    };
    let group = |n| format!("[target_group.group-y{n}]\ntargets = \"10.0.0.1:80\"");
    lines(count, listener) + &lines(count, group)
}

fn same_targets(count: usize) -> String {
    let targets = lines(count, |_| "    \"10.0.0.1:80\",".to_owned());
    format!("{LISTENER}[target_group.web]\ntargets = [\n{targets}]\n")
}

fn targets(count: usize) -> String {
    let address = |n: usize| format!("    \"10.{}.{}.{}:80\",", n >> 16, n >> 8 & 255, n & 255);
    let targets = lines(count, address);
    format!("{LISTENER}[target_group.web]\ntargets = [\n{targets}]\n")
}

fn rules(
    count: usize,
    priority: impl Fn(usize) -> usize,
    path: impl Fn(usize) -> String,
) -> String {
    let rule = |n| {
        let (priority, path) = (priority(n), path(n));
        format!(
            "[[listener.rule]]\npriority = {priority}\nwhen = {{ path = \"{path}\" }}\n\
             then = {{ forward = \"web\" }}"
        )
    };
    format!("{LISTENER}{}{GROUP}", lines(count, rule))
}

fn same_priorities(count: usize) -> String {
    rules(count, |_| 7, |n| format!("/{n}"))
}

fn exact_rules(count: usize) -> String {
    rules(count, |n| n + 1, |n| format!("/{n}"))
}

fn glob_rules(count: usize) -> String {
    rules(count, |n| n + 1, |n| format!("/{n}/*"))
}

fn same_binds(count: usize) -> String {
    lines(count, |n| format!("{LISTENER}name = \"l{n}\"")) + GROUP
}

fn broken_lines(count: usize) -> String {
    lines(count, |n| format!("key{n} = no:value")) + LISTENER + GROUP
}

fn broken_line(count: usize) -> String {
    format!("key = {}\n", "]= ".repeat(count))
}

fn same_tables(count: usize) -> String {
    let table = format!("[admin]\n{}", lines(count, |n| format!("key{n} = 1")));
    format!("{table}{table}")
}

fn secrets(count: usize) -> String {
    let secrets = "token = \"${A}\", ".repeat(count);
    format!("x = {{ {secrets} }}\n")
}

fn one_list(count: usize) -> String {
    let names = "\"web\", ".repeat(count);
    format!("[[listener]]\nbind = \"127.0.0.1:80\"\nforward = [{names}]\n{GROUP}")
}

fn time(text: &str) -> Duration {
    let begin = Instant::now();
    drop(problems(text).to_string());
    begin.elapsed()
}

#[test]
fn eight_times_the_file_takes_about_eight_times_as_long() {
    const COUNT: usize = 1_500;
    let kinds: [(&str, Make); 13] = [
        ("unknown keys", unknown_keys),
        ("unknown groups", unknown_groups),
        ("targets", targets),
        ("same targets", same_targets),
        ("same priorities", same_priorities),
        ("rules for exact paths", exact_rules),
        ("rules for patterns", glob_rules),
        ("same binds", same_binds),
        ("broken lines", broken_lines),
        ("a broken line", broken_line),
        ("same tables", same_tables),
        ("secrets in a line", secrets),
        ("a list", one_list),
    ];
    for (kind, make) in kinds {
        let (short, long) = (make(COUNT), make(8 * COUNT));
        // What is the same for every file, and other tests on the same cores, weigh less in two
        // of three.
        let mut ratios = [(); 3].map(|()| time(&long).as_secs_f64() / time(&short).as_secs_f64());
        ratios.sort_by(f64::total_cmp);
        assert!(ratios[0] < 24.0, "{kind}: {ratios:?}, 64 is quadratic");
    }
}

#[test]
fn two_hundred_thousand_unknown_keys_are_counted_and_a_hundred_shown() {
    let begin = Instant::now();
    let problems = problems(&unknown_keys(200_000));
    assert_eq!(problems.count(Severity::Error), 200_000);
    assert_eq!(problems.iter().count(), 100);
    let text = problems.to_string();
    assert!(text.contains("\nand 199900 more\n"), "{text}");
    assert!(text.ends_with("large.toml: 200000 errors"), "{text}");
    // A quadratic reading would take minutes in a debug build.
    assert!(begin.elapsed() < Duration::from_secs(60));
}

#[test]
fn what_is_there_thousands_of_times_is_counted_exactly() {
    let kinds: [(&str, Make, usize); 5] = [
        ("unknown groups", unknown_groups, 10_000),
        ("same targets", same_targets, 9_999),
        ("same priorities", same_priorities, 9_999),
        ("same binds", same_binds, 9_999),
        ("a list", one_list, 1),
    ];
    for (kind, make, expected) in kinds {
        let found = problems(&make(10_000));
        assert_eq!(found.count(Severity::Error), expected, "{kind}: {found}");
    }
}

#[test]
fn a_table_within_a_thousand_tables_does_not_overflow_the_stack() {
    let dotted = vec!["a"; 79].join(".");
    let brackets = "[".repeat(100_000);
    let braces = "{ a = ".repeat(100_000);
    let tables = format!("{dotted} = {}1", format!("{{ {dotted} = ").repeat(79));
    let texts = [
        format!("a = {brackets}"),
        format!("a = {braces}"),
        format!("[{}]", vec!["a"; 100_000].join(".")),
        format!("{} = 1", vec!["a"; 100_000].join(".")),
        format!("[{dotted}]\n{tables}{}", " }".repeat(79)),
    ];
    for text in texts {
        assert!(problems(&text).count(Severity::Error) > 0);
    }
}
