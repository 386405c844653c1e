//! The text of a configuration, as `weir check` and a start read it.
//!
//! It is read or refused, the same each time. Every problem has its place inside of the text, and
//! can be written for people and for programs. What is accepted can be published.

use std::io;
use std::path::Path;

use weir::config::{Code, Config, Parsed, Problems, Severity, parse_with_files};
use weir::state::Publisher;

pub(super) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let first = read(text);
    let second = read(text);
    match (first, second) {
        (Ok(parsed), Ok(again)) => {
            check_problems(text, &parsed.warnings);
            assert_eq!(parsed.warnings.count(Severity::Error), 0);
            assert!(again.config == parsed.config);
            publish(parsed.config);
        }
        (Err(problems), Err(again)) => {
            assert!(problems.count(Severity::Error) > 0);
            check_problems(text, &problems);
            assert_eq!(again.to_string(), problems.to_string());
        }
        _ => panic!("read and refused"),
    }
}

fn read(text: &str) -> Result<Parsed, Problems> {
    let env = |name: &str| match name {
        "NOTHING" => None,
        "EMPTY" => Some(String::new()),
        name => Some(name.to_lowercase()),
    };
    let files = |path: &Path| match path.to_str() {
        Some("key") => Ok("ab".repeat(32).into_bytes()),
        _ => Err(io::Error::other("no such file")),
    };
    parse_with_files("weir.toml", text, &env, &files)
}

fn check_problems(text: &str, problems: &Problems) {
    // A byte order mark does not count.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.split('\n').collect();
    for problem in problems.iter() {
        assert!(!problem.message.is_empty());
        let Some(at) = problem.location() else {
            // What a file does not have at all is at no place of it.
            assert_eq!(problem.code, Code::MissingKey, "{problem:?}");
            continue;
        };
        let line = lines.get(at.line - 1).expect("a line of the text");
        assert!(at.column <= line.chars().count() + 1, "{problem:?}");
    }
    assert!(!problems.to_string().contains('\0'));
    serde_json::to_string(problems).expect("JSON");
}

/// The snapshot is built from it, and once more over itself.
fn publish(config: Config) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime").block_on(async {
        let (publisher, task, reader) = Publisher::new(0);
        let task = tokio::spawn(task.run());
        let diff = publisher
            .configure(config.clone())
            .await
            .expect("published");
        assert!(diff.removed.is_empty());
        let names = config.target_groups.iter().map(|group| &group.id);
        for name in names {
            assert!(reader.load().group_named(name).is_some());
        }
        let diff = publisher.configure(config).await.expect("published");
        assert!(diff.is_empty(), "{diff:?}");
        drop(publisher);
        task.await.expect("the publisher does not panic");
    });
}
