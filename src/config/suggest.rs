//! "Did you mean": the nearest of a few words.

use strsim::damerau_levenshtein;

/// Longer words are never compared: no key or name comes near, and comparing
/// costs the product of both lengths.
const MAX_LENGTH: usize = 64;

/// The candidate a typing error away from `word`: at most two edits (one in a word
/// of four letters or less), or one is the start of the other.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    if word.len() > MAX_LENGTH {
        return None;
    }
    let lower = word.to_lowercase().replace('-', "_");
    let allowed = if lower.chars().count() <= 4 { 1 } else { 2 };
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= MAX_LENGTH)
        .filter_map(|candidate| Some((distance(&lower, candidate, allowed)?, candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn distance(lower: &str, candidate: &str, allowed: usize) -> Option<usize> {
    let folded = candidate.to_lowercase().replace('-', "_");
    let edits = damerau_levenshtein(lower, &folded);
    if edits <= allowed {
        return Some(edits);
    }
    let (short, long) = if lower.len() < folded.len() {
        (lower, folded.as_str())
    } else {
        (folded.as_str(), lower)
    };
    // A start of three letters is a coincidence less often than two edits.
    (short.len() >= 3 && long.starts_with(short)).then_some(allowed + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_and_starts_of_words_are_recognized() {
        let keys = [
            "interval",
            "timeout",
            "healthy",
            "unhealthy",
            "path",
            "port",
        ];
        let cases = [
            ("intervall", Some("interval")),
            ("Timeout", Some("timeout")),
            ("tiemout", Some("timeout")),
            ("healthy_threshold", Some("healthy")),
            ("prot", Some("port")),
            ("bind", None),
            ("", None),
        ];
        for (word, expected) in cases {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
    }
}
