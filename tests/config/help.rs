//! What a problem tells to write is right: applied to the file, it mends it.

use std::collections::BTreeMap;

use weir::config::{self, Code, Problem, Problems, Severity};

use crate::config::golden::{broken_files, problems_of};

/// A change of one line.
#[derive(Clone, Debug)]
enum Edit {
    /// The whole line, but for its indentation.
    Line(String),
    /// The key at this column (from 0).
    Key {
        column: usize,
        old: String,
        new: String,
    },
    /// The string at this column.
    Value { column: usize, new: String },
}

/// The change that a problem proposes, if a program can make it.
fn proposed(problem: &Problem) -> Option<(usize, Edit)> {
    let at = problem.location()?;
    let help = problem.help.as_deref()?;
    let edit = if problem.code == Code::Syntax {
        match help.strip_prefix("write ") {
            Some(line) => Edit::Line(line.to_owned()),
            _ if help == "take the line out" => Edit::Line(String::new()),
            _ => return None,
        }
    } else if problem.code == Code::UnknownKey {
        let meant = help
            .strip_prefix("did you mean `")
            .or_else(|| help.strip_prefix("Weir calls it `"))?;
        let new = meant
            .strip_suffix("`?")
            .or_else(|| meant.strip_suffix('`'))?;
        Edit::Key {
            column: at.column - 1,
            old: problem.key.rsplit('.').next()?.to_owned(),
            new: new.to_owned(),
        }
    } else {
        let value = help.strip_prefix("write ")?;
        let whole =
            value.starts_with('"') && value.ends_with('"') && value.matches('"').count() == 2;
        let list = value.starts_with("a list: [") && value.ends_with(']');
        let new = value.trim_start_matches("a list: ");
        (whole || list).then(|| Edit::Value {
            column: at.column - 1,
            new: new.to_owned(),
        })?
    };
    Some((at.line, edit))
}

fn edited(line: &str, edit: &Edit) -> Option<String> {
    let from = |column: usize| {
        let at = line
            .char_indices()
            .nth(column)
            .map_or(line.len(), |(at, _)| at);
        line.split_at(at)
    };
    match edit {
        Edit::Line(new) => {
            let indent = &line[..line.len() - line.trim_start().len()];
            Some(format!("{indent}{new}"))
        }
        Edit::Key { column, old, new } => {
            let (before, rest) = from(*column);
            Some(format!("{before}{new}{}", rest.strip_prefix(old.as_str())?))
        }
        Edit::Value { column, new } => {
            let (before, rest) = from(*column);
            let end = rest.strip_prefix('"')?.find('"')? + 2;
            Some(format!("{before}{new}{}", &rest[end..]))
        }
    }
}

/// What is the same if nothing was mended.
fn identity(problem: &Problem) -> (Code, Option<usize>, String) {
    let line = problem.location().map(|at| at.line);
    (problem.code, line, problem.message.clone())
}

#[test]
fn what_the_help_tells_to_write_mends_the_file() {
    let mut applied = BTreeMap::new();
    for path in broken_files() {
        let text = std::fs::read_to_string(&path).expect("a text file");
        let (before, _) = problems_of(&path, &text);
        // One change of a line: another column is another place after it.
        let mut edits: BTreeMap<usize, (Edit, &Problem)> = BTreeMap::new();
        for problem in before.iter() {
            if let Some((line, edit)) = proposed(problem) {
                edits.entry(line).or_insert((edit, problem));
            }
        }
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        edits.retain(|number, (edit, _)| {
            let new = edited(&lines[number - 1], edit);
            new.is_some_and(|new| {
                lines[number - 1] = new;
                true
            })
        });
        let mended = lines.join("\n") + "\n";
        let (after, _) = problems_of(&path, &mended);
        let name = path.display();
        for (line, (edit, problem)) in edits {
            *applied.entry(problem.code).or_insert(0) += 1;
            let same = |problems: &Problems| {
                let identities = problems.iter().map(identity);
                identities
                    .filter(|other| *other == identity(problem))
                    .count()
            };
            let message = &problem.message;
            assert!(
                same(&after) < same(&before),
                "{name}:{line} still has {message:?} after\n{mended}"
            );
            // A suggestion for a line is never an error in the next round.
            let wrong = |other: &&Problem| {
                let here = other.location().is_some_and(|at| at.line == line);
                here && other.severity == Severity::Error && other.code != Code::Variable
            };
            let next = after
                .iter()
                .find(wrong)
                .filter(|_| matches!(edit, Edit::Line(_)));
            assert!(next.is_none(), "{name}:{line}: {next:#?} after\n{mended}");
        }
    }
    // Otherwise this would pass if nothing were proposed.
    assert!(
        applied.get(&Code::Syntax).is_some_and(|count| *count > 40),
        "{applied:?}"
    );
    assert!(
        applied
            .get(&Code::UnknownKey)
            .is_some_and(|count| *count > 30),
        "{applied:?}"
    );
    assert!(applied.values().sum::<usize>() > 100, "{applied:?}");
}

#[test]
fn one_round_tells_everything_if_each_line_can_be_mended() {
    let text = "[[listener]]\nbind: 127.0.0.1:8080;\nforwrad = \"web\"\n\
                [target_group.web]\ntargets = [10.0.0.1]\nhealth = { interval = 5 }\n";
    let problems: Problems = config::parse("weir.toml", text, &|_| None).unwrap_err();
    let lines: Vec<_> = problems
        .iter()
        .filter_map(|problem| Some((problem.location()?.line, problem.code)))
        .collect();
    let expected = [
        (2, Code::Syntax),
        (3, Code::UnknownKey),
        (5, Code::Syntax),
        (6, Code::Unit),
    ];
    assert_eq!(lines, expected, "{problems}");
}
