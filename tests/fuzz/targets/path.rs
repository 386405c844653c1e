//! The normal spelling of paths, and the patterns that are matched against it.
//!
//! Normalizing twice changes nothing; a normal path has no dot segment, no empty segment in its
//! middle and no encoding that need not be there; what servers take for the same path has the same
//! spelling. A pattern matches what a slow and obvious reading of it matches.

use weir::model::{HostPattern, Pattern, normalize_path};

pub(super) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (pattern, path) = text.split_once('\n').unwrap_or(("", text));
    check_path(path);
    // The slow reading takes time that grows with the product of both.
    if pattern.len() * path.len() > 10_000 {
        return;
    }
    check_glob(pattern, path);
    if let Ok(host) = HostPattern::new(pattern) {
        let lower = [pattern, path].map(str::to_ascii_lowercase);
        assert_eq!(host.matches(&lower[1]), is_match(&lower[0], &lower[1]));
    }
}

fn check_path(path: &str) {
    let normal = normalize_path(path);
    assert_eq!(normalize_path(&normal), normal);
    if !path.starts_with('/') {
        assert_eq!(normal, path);
        return;
    }
    assert!(normal.starts_with('/') && !normal.contains("//"));
    assert!(normal.split('/').all(|part| part != "." && part != ".."));
    for (at, _) in normal.match_indices('%') {
        let digits = normal.get(at + 1..at + 3).expect("two digits");
        let byte = u8::from_str_radix(digits, 16).expect("two digits");
        assert_eq!(digits, format!("{byte:02X}"));
        assert!(!byte.is_ascii_alphanumeric() && !b"-._~".contains(&byte));
    }
    // Other spellings of the same path.
    for (plain, other) in [("/", "//"), ("/", "/./"), ("/", "/x/../"), (".", "%2e")] {
        // What stands behind a lone `%` may make an encoding of it.
        if !path.contains('%') {
            let spelt = path.replacen(plain, other, 1);
            assert_eq!(normalize_path(&spelt), normal, "{spelt}");
        }
    }
}

fn check_glob(pattern: &str, text: &str) {
    let Ok(glob) = Pattern::glob(pattern) else {
        return;
    };
    assert_eq!(glob.matches(text), is_match(pattern, text), "{pattern:?}");
    let ignoring = Pattern::glob(pattern).map(Pattern::lowercase);
    let ignoring = ignoring.expect("it was one").matches_ignoring_case(text);
    let lower = [pattern, text].map(str::to_ascii_lowercase);
    assert_eq!(ignoring, is_match(&lower[0], &lower[1]), "{pattern:?}");
}

/// `*` is any number of characters, `?` is one.
fn is_match(pattern: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    // Whether what was read of the pattern matches so many characters.
    let mut matched = vec![false; text.len() + 1];
    matched[0] = true;
    for symbol in pattern.chars() {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            next[at] = match symbol {
                '*' => matched[at] || at > 0 && next[at - 1],
                '?' => at > 0 && matched[at - 1],
                symbol => at > 0 && matched[at - 1] && text[at - 1] == symbol,
            };
        }
        matched = next;
    }
    matched[text.len()]
}
