//! Tells `weir --version` which commit and which target it is built for.
//!
//! The commit is that of `WEIR_COMMIT`, or else of the git repository around this file, if there is
//! one: a build from an archive has none. Nothing of it depends on the time or on the machine, so two
//! builds of a commit are the same. Builds for development leave it out, because each commit would
//! compile everything anew.

#![allow(
    clippy::print_stdout,
    reason = "a build script talks to cargo by its output"
)]

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/cli/build.rs");
    println!("cargo::rerun-if-env-changed=WEIR_COMMIT");
    let target = env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=WEIR_TARGET={target}");
    let is_given = env::var("WEIR_COMMIT").is_ok_and(|commit| !commit.is_empty());
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if !is_given
        && is_release
        && let Some(commit) = commit()
    {
        println!("cargo::rustc-env=WEIR_COMMIT={commit}");
    }
}

/// The commit that is checked out, with `-dirty` behind it if tracked files differ from it.
fn commit() -> Option<String> {
    let folder = env::var("CARGO_MANIFEST_DIR").ok()?;
    // A repository that an unpacked archive lies in says nothing about it.
    if !Path::new(&folder).join(".git").exists() {
        return None;
    }
    let commit = git(&["rev-parse", "HEAD"])?;
    for path in ["HEAD", "refs", "packed-refs"] {
        if let Some(path) = git(&["rev-parse", "--git-path", path]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    for path in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let dirty = if changed.is_empty() { "" } else { "-dirty" };
    Some(format!("{commit}{dirty}"))
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
