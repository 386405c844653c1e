//! From a file to a [`Config`], in the order of the story.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::context::{Context, Files};
use super::problem::{Code, Problem, Problems, Severity};
use super::section::Section;
use super::span::{Span, line_and_column};
use super::types::Config;
use super::{Parsed, cross, read, secret, syntax};

/// Longest file that is read, bytes: twenty times a configuration with a
/// thousand rules and targets.
pub const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Longest file that a key may stand in, bytes.
const MAX_KEY_FILE: u64 = 4 * 1024;

/// Why a file gives no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It can, and this is wrong with it.
    #[error("{0}")]
    Invalid(Box<Problems>),
}

/// Reads and checks a file; variables come from the process environment, and the files
/// it names stand where it stands itself.
pub fn load(path: &Path) -> Result<Parsed, LoadError> {
    let bytes = read_at_most(path, MAX_BYTES).map_err(|error| LoadError::Read {
        path: path.to_owned(),
        error,
    })?;
    let env = |name: &str| std::env::var(name).ok();
    let folder = path.parent().unwrap_or(Path::new(""));
    let files = |name: &Path| key_file(&folder.join(name));
    parse_bytes(&path.display().to_string(), bytes, &env, &files)
        .map_err(|problems| LoadError::Invalid(Box::new(problems)))
}

/// One byte more than `limit` tells a file of exactly the limit from a longer one.
fn read_at_most(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn key_file(path: &Path) -> io::Result<String> {
    let bytes = read_at_most(path, MAX_KEY_FILE)?;
    if bytes.len() as u64 > MAX_KEY_FILE {
        return Err(io::Error::other("it is longer than 4 KiB"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not text"))
}

/// Checks a text that stands alone: a file it names cannot be read. `file` is what the
/// problems call it; `env` answers for `${VAR}`.
pub fn parse(
    file: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Parsed, Problems> {
    let none = |_: &Path| Err(io::Error::other("no files are read here"));
    parse_with_files(file, text, env, &none)
}

/// Checks a text; `files` reads those that it names.
pub fn parse_with_files(
    file: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    files: &Files<'_>,
) -> Result<Parsed, Problems> {
    if text.len() as u64 > MAX_BYTES {
        return Err(too_long(file));
    }
    // Editors on Windows begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (tree, errors) = DeTable::parse_recoverable(text);
    // What problems show; the places in it are the same.
    let shown = secret::masked(text);
    let (mut problems, broken_lines) = syntax::problems(&shown, errors);

    let cx = Context::new(text, env, files);
    let config = read::file(&Section::root(&cx, tree.get_ref()));
    cross::check(&cx);
    let found = cx.take_problems();
    problems.extend(found.into_iter().filter(|problem| {
        let on = |span: Span| line_and_column(text, span.start).0;
        let on_broken_line = problem
            .span
            .is_some_and(|span| broken_lines.contains(&on(span)));
        broken_lines.is_empty() || (problem.code.survives_syntax_errors() && !on_broken_line)
    }));
    finish(file, &shown, config, problems)
}

fn finish(
    file: &str,
    text: &str,
    config: Option<Config>,
    problems: Vec<Problem>,
) -> Result<Parsed, Problems> {
    let sound = problems.iter().all(|p| p.severity != Severity::Error);
    debug_assert!(
        config.is_some() || !sound,
        "what cannot be read is reported"
    );
    let problems = Problems::new(file, text, problems);
    match config {
        Some(config) if sound => Ok(Parsed {
            config,
            warnings: problems,
        }),
        _ => Err(problems),
    }
}

fn parse_bytes(
    file: &str,
    bytes: Vec<u8>,
    env: &dyn Fn(&str) -> Option<String>,
    files: &Files<'_>,
) -> Result<Parsed, Problems> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_long(file));
    }
    match String::from_utf8(bytes) {
        Ok(text) => parse_with_files(file, &text, env, files),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            // The lossy text agrees with the file up to that byte, so the place is right.
            let text = String::from_utf8_lossy(error.as_bytes());
            let span = Some(Span { start: at, end: at });
            let message = "the file is not UTF-8 text from here on".to_owned();
            let help = "save it as UTF-8".to_owned();
            Err(Problems::new(
                file,
                &secret::masked(&text),
                vec![unreadable(message, help, span)],
            ))
        }
    }
}

fn too_long(file: &str) -> Problems {
    let message = format!("the file is longer than {} MiB", MAX_BYTES >> 20);
    let help = "is this the right file?".to_owned();
    Problems::new(file, "", vec![unreadable(message, help, None)])
}

fn unreadable(message: String, help: String, span: Option<Span>) -> Problem {
    Problem {
        severity: Severity::Error,
        code: Code::Unreadable,
        key: String::new(),
        message,
        help: Some(help),
        span,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: Vec<u8>) -> String {
        let files = |_: &Path| Err(io::Error::other("none"));
        parse_bytes("weir.toml", bytes, &|_| None, &files)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_file_that_is_not_text_says_where() {
        let text = refused(b"workers = 2\n# caf\xe9\n".to_vec());
        assert!(
            text.contains("weir.toml:2:6") && text.contains("not UTF-8"),
            "{text}"
        );
    }

    #[test]
    fn a_huge_file_is_refused_unparsed() {
        let bytes = vec![b'#'; usize::try_from(MAX_BYTES).unwrap() + 1];
        assert!(refused(bytes).contains("longer than 4 MiB"));
    }

    #[test]
    fn a_byte_order_mark_does_not_count() {
        let text = refused("\u{feff}workers = 0\n".as_bytes().to_vec());
        assert!(text.contains("weir.toml:1:11"), "{text}");
    }

    #[test]
    fn a_file_that_is_not_there_is_another_error() {
        let error = load(Path::new("/nonexistent/weir.toml")).unwrap_err();
        assert!(matches!(error, LoadError::Read { .. }), "{error}");
    }

    #[test]
    fn a_key_file_is_looked_for_beside_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weir.toml");
        let text = "cookie_key_file = \"key\"\n[[listener]]\nbind = \"127.0.0.1:0\"\n\
                    fixed_response = { status = 200 }\n";
        std::fs::write(&file, text).unwrap();
        let missing = load(&file).unwrap_err().to_string();
        assert!(missing.contains("cannot read `key`"), "{missing}");
        std::fs::write(folder.path().join("key"), "ab".repeat(32) + "\n").unwrap();
        let key = load(&file).unwrap().config.cookie_key.expect("a key");
        assert_eq!(key.0, [0xab; 32]);
        std::fs::write(folder.path().join("key"), "ab".repeat(4096)).unwrap();
        let long = load(&file).unwrap_err().to_string();
        assert!(long.contains("longer than 4 KiB"), "{long}");
    }
}
