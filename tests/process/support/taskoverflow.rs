//! The TaskOverflow program of the examples, built if it is missing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of the `taskoverflow` program, next to weir's.
///
/// `cargo test --workspace` has built it. A run of these tests alone has not: cargo builds the
/// programs of their own package only.
pub fn taskoverflow() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let weir = Path::new(env!("CARGO_BIN_EXE_weir"));
        let folder = weir.parent().unwrap();
        let program = folder.join("taskoverflow");
        if !program.exists() {
            build(folder);
        }
        assert!(program.exists(), "{} is missing", program.display());
        program
    })
}

/// Builds it with the profile and target directory of weir.
fn build(folder: &Path) {
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--package", "taskoverflow"])
        .args(["--profile", profile, "--target-dir"])
        .arg(folder.parent().unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(status.unwrap().success(), "taskoverflow does not build");
}
