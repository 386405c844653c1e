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
    let lower: String = folded(word).collect();
    let length = lower.chars().count();
    let allowed = if length <= 4 { 1 } else { 2 };
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= MAX_LENGTH)
        .filter_map(|candidate| Some((distance(&lower, length, candidate, allowed)?, candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Case and hyphens are no difference.
fn folded(word: &str) -> impl Iterator<Item = char> {
    let lower = word.chars().flat_map(char::to_lowercase);
    lower.map(|c| if c == '-' { '_' } else { c })
}

fn distance(lower: &str, length: usize, candidate: &str, allowed: usize) -> Option<usize> {
    let other = folded(candidate).count();
    // Each edit changes the length by one at most: most candidates cost no more than this.
    if length.abs_diff(other) <= allowed {
        let candidate: String = folded(candidate).collect();
        let edits = damerau_levenshtein(lower, &candidate);
        if edits <= allowed {
            return Some(edits);
        }
    }
    // A start of three letters is a coincidence less often than two edits.
    let short = length.min(other);
    let same = lower.chars().zip(folded(candidate)).take(short);
    (short >= 3 && same.into_iter().all(|(a, b)| a == b)).then_some(allowed + 1)
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
