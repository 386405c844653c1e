//! Files that ship can be used as they are, and document every key.

use std::fs;
use std::path::{Path, PathBuf};

use weir::config::{self, Problems};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.toml` below a folder that is not cargo's.
fn configurations(dir: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).expect("a readable folder");
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        let cargo = path.ends_with("Cargo.toml") || path.ends_with("target");
        if path.is_dir() && !cargo {
            configurations(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "toml")
            && !cargo
        {
            found.push(path);
        }
    }
}

#[test]
fn every_file_that_ships_has_no_problem_and_no_warning() {
    let mut files = Vec::new();
    configurations(&root().join("config"), &mut files);
    assert!(files.len() >= 3, "found only {files:?}");
    configurations(&root().join("examples"), &mut files);
    for path in files {
        let text = fs::read_to_string(&path).expect("a text file");
        let name = path.display().to_string();
        // Without any variable: a file that ships works, or has defaults.
        let warnings: Problems = match config::parse(&name, &text, &|_| None) {
            Ok(parsed) => parsed.warnings,
            Err(problems) => problems,
        };
        assert!(warnings.is_empty(), "{warnings}");
    }
}

#[test]
fn the_full_file_documents_every_key() {
    let text = fs::read_to_string(root().join("config/full.toml")).expect("it ships");
    let keys = config::keys();
    assert!(keys.len() > 110, "found only {} keys", keys.len());
    let documented = |key: &str| {
        let last = key.rsplit('.').next().unwrap_or(key);
        // As a key, as a header, or as a commented-out alternative.
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        text.match_indices(last).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + last.len()..].trim_start_matches(' ');
            !before.is_some_and(word) && after.starts_with(['=', ']', '.'])
        })
    };
    let missing: Vec<_> = keys.iter().filter(|key| !documented(key)).collect();
    assert!(missing.is_empty(), "not in config/full.toml: {missing:#?}");
}

#[test]
fn the_defaults_that_the_full_file_shows_are_the_defaults() {
    use config::defaults;
    let text = fs::read_to_string(root().join("config/full.toml")).expect("it ships");
    let full = config::parse("full.toml", &text, &|_| None)
        .expect("it is fine")
        .config;
    assert_eq!(full.access_log, defaults::ACCESS_LOG);
    assert_eq!(full.shutdown, defaults::SHUTDOWN);
    assert_eq!(full.admin.expect("it is shown").bind, defaults::ADMIN_BIND);
    let listener = &full.listeners[0];
    assert_eq!(listener.max_connections, defaults::MAX_CONNECTIONS);
    assert_eq!(listener.forwarded.mode, defaults::FORWARDED_MODE);
    let client = config::ClientLimits {
        max_body: None,
        max_requests: None,
        ..listener.client
    };
    assert_eq!(client, defaults::CLIENT);
    let group = &full.target_groups[0];
    assert_eq!(group.fail_open, defaults::FAIL_OPEN);
    let upstream = config::Upstream {
        request_timeout: None,
        idle_timeout: None,
        ..group.upstream
    };
    assert_eq!(upstream, defaults::UPSTREAM);
    let retry = config::Retry {
        statuses: Vec::new(),
        ..group.retry.clone()
    };
    assert_eq!(retry, defaults::RETRY);
    assert_eq!(group.outlier, Some(defaults::OUTLIER));
    assert_eq!(
        group.overload.queue_timeout,
        defaults::OVERLOAD.queue_timeout
    );
    assert_eq!(group.deregistration_delay, defaults::DEREGISTRATION_DELAY);
    let sticky = group.sticky.as_ref().expect("it is shown");
    assert_eq!(sticky.cookie, defaults::STICKY_COOKIE);
    assert_eq!(sticky.duration, defaults::STICKY_DURATION);
    assert_eq!(sticky.when_full, defaults::STICKY_FULL);
    assert_eq!(sticky.when_draining, defaults::STICKY_DRAINING);
    let limit = listener.rate_limit.as_ref().expect("it is shown");
    assert_eq!(
        (&limit.key, limit.per),
        (&config::RateKey::ClientIp, defaults::RATE_LIMIT_PER)
    );
    let health = group.health.as_ref().expect("it is shown");
    assert_eq!(health.interval, defaults::HEALTH_INTERVAL);
    assert_eq!(health.timeout, defaults::HEALTH_TIMEOUT);
    assert_eq!(health.thresholds, defaults::HEALTH_THRESHOLDS);
}
