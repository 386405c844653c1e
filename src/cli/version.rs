//! What this build of Weir is made of.

use std::fmt::Write as _;
use std::sync::LazyLock;

static LONG: LazyLock<String> = LazyLock::new(describe);

/// `weir 0.1.0`, and a line each for commit, features and target.
pub(super) fn long() -> &'static str {
    &LONG
}

fn describe() -> String {
    let mut text = env!("CARGO_PKG_VERSION").to_owned();
    let commit = option_env!("WEIR_COMMIT").unwrap_or("unknown");
    for (name, value) in [
        ("commit", commit),
        ("features", &features()),
        ("target", env!("WEIR_TARGET")),
    ] {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{name}: {value}");
    }
    text
}

/// The features of this build, in the order of the alphabet.
fn features() -> String {
    let all = [
        ("docker", cfg!(feature = "docker")),
        ("ecs", cfg!(feature = "ecs")),
        ("kubernetes", cfg!(feature = "kubernetes")),
        ("tools", cfg!(feature = "tools")),
    ];
    let built: Vec<&str> = all
        .into_iter()
        .filter_map(|(name, is_built)| is_built.then_some(name))
        .collect();
    if built.is_empty() {
        return "none".to_owned();
    }
    built.join(", ")
}
