//! The inputs of the fuzz targets, which a fuzzer has found, through the properties of those
//! targets: what was wrong once stays right, without a fuzzer.
//!
//! `corpus` has the smallest set of inputs that reaches what fuzzing has reached, `regressions`
//! one input for each bug that it has found.

mod targets;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz");

/// The files of a folder, in order; none if there is no such folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let mut paths: Vec<PathBuf> = paths.collect();
    paths.sort();
    paths
}

fn replay(name: &str) {
    let target = targets::ALL.iter().find(|(other, _)| *other == name);
    let (_, run) = target.expect("a name in the table");
    let corpus = files(&Path::new(ROOT).join("corpus").join(name));
    assert!(!corpus.is_empty(), "{name} has no corpus");
    let regressions = files(&Path::new(ROOT).join("regressions").join(name));
    for path in corpus.into_iter().chain(regressions) {
        let data = fs::read(&path).expect("a readable file");
        let result = catch_unwind(|| run(&data));
        assert!(result.is_ok(), "{}", path.display());
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_target_has_a_program_and_is_replayed() {
            let names = targets::ALL.map(|(name, _)| name);
            assert_eq!(names, [$(stringify!($name)),*]);
            let programs = files(&Path::new(ROOT).join("fuzz_targets"));
            let programs = programs.iter().map(|path| path.file_stem().expect("a file"));
            assert!(programs.eq(names));
        }
    };
}

replays! {
    chunked_body
    client_hello
    configuration
    connection
    cookies
    http2
    path
    proxy_header
    request_head
    response_head
}
