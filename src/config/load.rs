//! From a file to a [`Config`]: read, parse, check, complete.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use toml::de::DeTable;

use super::context::{Context, Files, Surroundings};
use super::problem::{Code, Problem, Problems, Severity};
use super::section::Section;
use super::span::Span;
use super::types::{Config, Runner, TargetAddress};
use super::{Parsed, cross, foreign, read, secret, syntax};
use crate::files::{self, Stamp, Versions};

/// Longest file that is read, bytes: several times a configuration with a hundred thousand rules
/// and targets.
pub const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Longest file that a configuration names, bytes: all authorities of the web together are smaller.
const MAX_NAMED_FILE: u64 = 1024 * 1024;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// The file has errors.
    #[error("{0}")]
    Invalid(Box<Problems>),
}

/// The result of reading a file, and the versions of the files it was read from.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, or why there is none.
    pub result: Result<Parsed, LoadError>,
    /// If there is none: the last valid text, with the files that it names as they are now. So a
    /// mistake in the file does not hold back a renewed certificate.
    pub renewed: Option<Config>,
    /// The file itself and those it names that were read with it. Once one of them changes, the
    /// result may be another one.
    pub files: Versions,
}

/// Reads and checks a file. Variables come from the environment of the process; relative paths of
/// secrets start at the folder of the file. Programs that are not there are warned about, and
/// engines that this build lacks are refused.
pub fn load(path: &Path) -> Result<Parsed, LoadError> {
    parse_file(path, read_file(path)?, &RefCell::default())
}

/// Reads a configuration file again and again.
#[derive(Debug)]
pub struct Loader {
    path: PathBuf,
    /// The last text that was valid.
    valid: Mutex<Option<Vec<u8>>>,
}

impl Loader {
    /// Reads nothing yet.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            valid: Mutex::default(),
        }
    }

    /// As [`load`], and returns the files to watch.
    pub fn load(&self) -> Loaded {
        let seen = RefCell::new(vec![(self.path.clone(), Stamp::of(&self.path))]);
        // A panic while it was held has left a text or none.
        let mut valid = self.valid.lock().unwrap_or_else(PoisonError::into_inner);
        let parse = |bytes| parse_file(&self.path, bytes, &seen);
        let mut renewed = None;
        let result = match read_file(&self.path) {
            Ok(bytes) => parse(bytes.clone()).inspect(|_| *valid = Some(bytes)),
            Err(error) => Err(error),
        };
        if let (Err(_), Some(bytes)) = (&result, &*valid) {
            renewed = parse(bytes.clone()).ok().map(|parsed| parsed.config);
        }
        let files = seen.into_inner();
        Loaded {
            result,
            renewed,
            files,
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, LoadError> {
    files::read(path, MAX_BYTES).map_err(|error| not_read(path, error))
}

/// Notes which files the text names that were read.
fn parse_file(path: &Path, bytes: Vec<u8>, seen: &RefCell<Versions>) -> Result<Parsed, LoadError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let files = |name: &Path| {
        let path = folder.join(name);
        let stamp = Stamp::of(&path);
        let bytes = files::read(&path, MAX_NAMED_FILE);
        seen.borrow_mut().push((path, stamp));
        bytes
    };
    load_bytes(&path.display().to_string(), folder, bytes, &files)
}

fn not_read(path: &Path, error: io::Error) -> LoadError {
    match error.kind() {
        ErrorKind::FileTooLarge => {
            LoadError::Invalid(Box::new(too_long(&path.display().to_string())))
        }
        _ => LoadError::Read {
            path: path.to_owned(),
            error,
        },
    }
}

/// As [`load`] for the text of a reader, such as standard input, under a name; relative paths
/// start at the working directory.
pub fn load_from(name: &str, reader: impl Read) -> Result<Parsed, LoadError> {
    let read = files::read_from(reader, MAX_BYTES);
    let bytes = read.map_err(|error| not_read(Path::new(name), error))?;
    let files = |name: &Path| files::read(name, MAX_NAMED_FILE);
    load_bytes(name, Path::new(""), bytes, &files)
}

fn load_bytes(
    name: &str,
    folder: &Path,
    bytes: Vec<u8>,
    files: &Files<'_>,
) -> Result<Parsed, LoadError> {
    let env = |name: &str| std::env::var(name).ok();
    let around = Surroundings {
        is_program: &is_program,
        can_write: &|path| files::check_writable(&folder.join(path)),
        has_feature: &has_feature,
        ..Surroundings::unknown(&env, files)
    };
    let mut parsed = parse_bytes(name, bytes, around)
        .map_err(|problems| LoadError::Invalid(Box::new(problems)))?;
    anchor(&mut parsed.config, folder);
    Ok(parsed)
}

/// Makes the paths of target lists and state directories start at the folder of the configuration,
/// as those of secrets do.
fn anchor(config: &mut Config, folder: &Path) {
    let tls = config.listeners.iter_mut().flat_map(|one| &mut one.tls);
    for acme in tls.flat_map(|tls| &mut tls.acme) {
        acme.state_dir = folder.join(&acme.state_dir);
    }
    for target in config
        .target_groups
        .iter_mut()
        .flat_map(|group| &mut group.targets)
    {
        if let TargetAddress::File { path, .. } = &mut target.address {
            *path = folder.join(&*path);
        }
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0)
}

/// Whether this build has the cargo feature of an engine.
fn has_feature(name: &str) -> bool {
    let features = [
        ("docker", cfg!(feature = "docker")),
        ("kubernetes", cfg!(feature = "kubernetes")),
        ("ecs", cfg!(feature = "ecs")),
    ];
    features.contains(&(name, true))
}

/// Checks a text that stands alone: a file it names cannot be read, and its programs are not
/// looked for. `file` is what the problems call it; `env` answers for `${VAR}`.
pub fn parse(
    file: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Parsed, Problems> {
    parse_with_files(file, text, env, &|_: &Path| {
        Err(io::Error::other("no files are read here"))
    })
}

/// Checks a text; `files` reads those that it names.
pub fn parse_with_files(
    file: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    files: &Files<'_>,
) -> Result<Parsed, Problems> {
    parse_in(file, text, Surroundings::unknown(env, files))
}

fn parse_in(file: &str, text: &str, around: Surroundings<'_>) -> Result<Parsed, Problems> {
    if text.len() as u64 > MAX_BYTES {
        return Err(too_long(file));
    }
    // Editors on Windows begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (tree, errors) = DeTable::parse_recoverable(text);
    let cx = Context::new(text, around);
    let foreign = if errors.is_empty() {
        foreign::by_keys(tree.get_ref())
    } else {
        foreign::recognize(text)
    };
    if let Some(foreign) = foreign {
        foreign.report(&cx);
        return Err(cx.take_problems(file));
    }
    if syntax::check(&cx, &errors) {
        return Err(cx.take_problems(file));
    }
    let config = read::file(&Section::root(&cx, tree.get_ref()));
    let config = config.map(|config| withhold(config, &cx.secrets()));
    cross::check(&cx);
    let sound = !cx.has_errors();
    debug_assert!(
        config.is_some() || !sound,
        "what cannot be read is reported"
    );
    let problems = cx.take_problems(file);
    match config {
        Some(config) if sound => Ok(Parsed {
            config,
            warnings: problems,
        }),
        _ => Err(problems),
    }
}

/// Withholds the variables of secrets from the programs that the configuration names.
fn withhold(mut config: Config, secrets: &BTreeSet<String>) -> Config {
    for replicas in config
        .target_groups
        .iter_mut()
        .filter_map(|group| group.replicas.as_mut())
    {
        match &mut replicas.runner {
            Runner::Process(process) => process.secrets.clone_from(secrets),
            Runner::Exec(exec) => exec.secrets.clone_from(secrets),
            Runner::Docker(_)
            | Runner::Swarm(_)
            | Runner::Kubernetes(_)
            | Runner::Ecs(_)
            | Runner::Webhook(_) => {}
        }
    }
    config
}

fn parse_bytes(file: &str, bytes: Vec<u8>, around: Surroundings<'_>) -> Result<Parsed, Problems> {
    match String::from_utf8(bytes) {
        Ok(text) => parse_in(file, &text, around),
        Err(error) => {
            if let Some(problem) = no_text(error.as_bytes()) {
                return Err(Problems::one(file, "", problem));
            }
            let at = error.utf8_error().valid_up_to();
            // The lossy text agrees with the file up to that byte, so the place is right.
            let text = String::from_utf8_lossy(error.as_bytes());
            let span = Some(Span { start: at, end: at });
            let message = "the file is not UTF-8 text from here on".to_owned();
            let help = "save it as UTF-8".to_owned();
            let problem = unreadable(message, help, span);
            Err(Problems::one(file, &secret::masked(&text), problem))
        }
    }
}

/// The problem of a file that is not text, if its first bytes show its format.
fn no_text(bytes: &[u8]) -> Option<Problem> {
    let (message, help) = match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => (
            "the file is UTF-16 text; Weir reads UTF-8",
            "save it as UTF-8; in PowerShell: Set-Content -Encoding utf8",
        ),
        [0x1f, 0x8b, ..] | [b'P', b'K', 3, 4, ..] => {
            ("this is a compressed file", "unpack it first")
        }
        [0x7f, b'E', b'L', b'F', ..] => {
            ("this is a program", "name the configuration file instead")
        }
        _ => return None,
    };
    Some(unreadable(message.to_owned(), help.to_owned(), None))
}

fn too_long(file: &str) -> Problems {
    let message = format!("the file is longer than {} MiB", MAX_BYTES >> 20);
    let help = "is this the right file?".to_owned();
    Problems::one(file, "", unreadable(message, help, None))
}

fn unreadable(message: String, help: String, span: Option<Span>) -> Problem {
    let (severity, code) = (Severity::Error, Code::Unreadable);
    Problem::new(severity, code, String::new(), message, Some(help), span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: Vec<u8>) -> String {
        let files = |_: &Path| Err(io::Error::other("none"));
        let around = Surroundings::unknown(&|_| None, &files);
        parse_bytes("weir.toml", bytes, around)
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
    fn a_file_in_another_encoding_says_which() {
        let text: Vec<u8> = "workers = 2"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let text = refused([&[0xff, 0xfe], &*text].concat());
        assert!(
            text.contains("UTF-16") && text.contains("1 error"),
            "{text}"
        );
        let text = refused(vec![0x1f, 0x8b, 8, 0, 0xff]);
        assert!(text.contains("a compressed file"), "{text}");
    }

    #[test]
    fn a_huge_file_is_refused_unparsed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weir.toml");
        // Nothing but a hole, which takes no space on the disk.
        fs::File::create(&file)
            .and_then(|file| file.set_len(MAX_BYTES + 1))
            .unwrap();
        let error = load(&file).unwrap_err().to_string();
        assert!(error.contains("longer than 64 MiB"), "{error}");
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
        let error = load(Path::new("/dev/zero")).unwrap_err();
        let said = "cannot read /dev/zero: it is a device, not a regular file";
        assert_eq!(error.to_string(), said);
    }

    #[test]
    fn the_files_that_it_is_read_from_are_told_also_where_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weir.toml");
        fs::write(
            &file,
            "cookie_key_file = \"key\"\nadmin = { token_file = \"/t\" }",
        )
        .unwrap();
        let loaded = Loader::new(file.clone()).load();
        assert!(loaded.result.is_err());
        let paths: Vec<_> = loaded.files.into_iter().map(|(path, _)| path).collect();
        let expected = [file, folder.path().join("key"), PathBuf::from("/t")];
        assert_eq!(BTreeSet::from_iter(paths), BTreeSet::from(expected));
    }

    #[test]
    fn files_that_the_last_valid_text_names_are_read_although_a_later_one_is_not_valid() {
        let folder = tempfile::tempdir().unwrap();
        let (file, key) = (folder.path().join("weir.toml"), folder.path().join("key"));
        let text = "cookie_key_file = \"key\"\n[[listener]]\nbind = \"127.0.0.1:0\"\n\
                    fixed_response = { status = 200 }\n";
        let source = Loader::new(file.clone());
        let renewed = || {
            let loaded = source.load();
            assert!(loaded.result.is_err());
            let has_key = loaded.files.iter().any(|(path, _)| *path == key);
            let key = loaded.renewed.and_then(|config| config.cookie_key);
            assert_eq!(has_key, key.is_some(), "what is read is watched");
            key.map(|key| key.0)
        };
        fs::write(&key, "ab".repeat(32)).unwrap();
        fs::write(&file, "nonsense").unwrap();
        assert_eq!(renewed(), None, "no text was valid yet");
        fs::write(&file, text).unwrap();
        let loaded = source.load();
        assert!(loaded.result.is_ok() && loaded.renewed.is_none());
        fs::write(&file, "nonsense").unwrap();
        fs::write(&key, "cd".repeat(32)).unwrap();
        assert_eq!(renewed(), Some([0xcd; 32]));
        fs::remove_file(&file).unwrap();
        assert_eq!(renewed(), Some([0xcd; 32]));
    }

    #[test]
    fn a_key_file_is_looked_for_beside_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weir.toml");
        let text = "cookie_key_file = \"key\"\n[[listener]]\nbind = \"127.0.0.1:0\"\n\
                    fixed_response = { status = 200 }\n";
        fs::write(&file, text).unwrap();
        let missing = load(&file).unwrap_err().to_string();
        assert!(missing.contains("cannot read `key`"), "{missing}");
        fs::write(folder.path().join("key"), "ab".repeat(32) + "\n").unwrap();
        let key = load(&file).unwrap().config.cookie_key.expect("a key");
        assert_eq!(key.0, [0xab; 32]);
        fs::write(folder.path().join("key"), "ab".repeat(4096)).unwrap();
        let long = load(&file).unwrap_err().to_string();
        assert!(long.contains("longer than 4 KiB"), "{long}");
    }

    /// What is said about replicas where only `/bin/todo` and `/srv/todo` are programs, PATH is
    /// `/usr/bin:/bin`, and no engine was built in.
    fn about(replicas: &str) -> String {
        let text = format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\nforward = \"todo\"\n\
             [target_group.todo.replicas]\n{replicas}\n"
        );
        let env = |name: &str| (name == "PATH").then(|| "/usr/bin:/bin".to_owned());
        let files = |_: &Path| Err(io::Error::other("none"));
        let around = Surroundings {
            is_program: &|path| path == Path::new("/bin/todo") || path == Path::new("/srv/todo"),
            has_feature: &|_| false,
            ..Surroundings::unknown(&env, &files)
        };
        match parse_in("weir.toml", &text, around) {
            Ok(parsed) if parsed.warnings.is_empty() => String::new(),
            Ok(parsed) => parsed.warnings.to_string(),
            Err(problems) => problems.to_string(),
        }
    }

    #[test]
    fn a_program_is_looked_for_where_it_will_be() {
        let found = [
            "command = [\"todo\", \"{port}\"]",
            "command = [\"/srv/todo\", \"{port}\"]",
            "command = [\"./todo\", \"{port}\"]\ndirectory = \"/srv\"",
            "command = [\"todo\", \"{port}\"]\nenv = { PATH = \"/srv\" }",
            "exec = { list = [\"todo\"], scale = [\"/bin/todo\", \"{count}\"] }",
        ];
        for replicas in found {
            assert_eq!(about(replicas), "", "{replicas}");
        }
        let missing = [
            (
                "command = [\"taskoverflow\", \"{port}\"]",
                "no folder of PATH",
            ),
            ("command = [\"./todo\", \"{port}\"]", "no program `./todo`"),
            (
                "command = [\"./todo\", \"{port}\"]\ndirectory = \"/opt\"",
                "no program `/opt/./todo`",
            ),
            (
                "command = [\"todo\", \"{port}\"]\nenv = { PATH = \"/sbin\" }",
                "no folder of PATH",
            ),
            (
                "exec = { list = [\"/list\"], scale = [\"todo\", \"{count}\"] }",
                "no program `/list`",
            ),
        ];
        for (replicas, message) in missing {
            let said = about(replicas);
            assert!(
                said.contains("warning[missing-program]") && said.contains(message),
                "{replicas}: {said}"
            );
        }
    }

    #[test]
    fn an_engine_that_was_not_built_in_is_refused_by_its_feature() {
        let engines = [
            ("docker = { image = \"todo\", port = 1 }", "docker"),
            (
                "swarm = { service = \"a\", network = \"b\", port = 1 }",
                "docker",
            ),
            (
                "kubernetes = { deployment = \"a\", service = \"b\", port = 1 }",
                "kubernetes",
            ),
            ("ecs = { service = \"a\", port = 1 }", "ecs"),
        ];
        for (replicas, feature) in engines {
            let said = about(replicas);
            assert!(
                said.contains("error[not-built-in]")
                    && said.contains(&format!("--features {feature}")),
                "{replicas}: {said}"
            );
        }
    }
}
