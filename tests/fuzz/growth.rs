//! Large configurations: reading them takes time in proportion to their length, or the fuzzer says
//! that an input is slow. For the fuzzer alone, because the suite measures no time.

use weir::config::parse;

const LENGTH: usize = 100_000;

/// One input of so many, because the others wait for it.
const ONE_OF: usize = 32;

/// Reads the text with one of its paragraphs many times, each time with another number.
pub(crate) fn read_grown(data: &[u8]) {
    if !data.len().is_multiple_of(ONE_OF) {
        return;
    }
    if let Ok(text) = std::str::from_utf8(data) {
        // The target has looked at its problems.
        let _ = parse("large.toml", &grown(text), &|_| None);
    }
}

fn grown(text: &str) -> String {
    let paragraphs: Vec<&str> = text.split("\n\n").collect();
    let paragraph = paragraphs[text.len() / ONE_OF % paragraphs.len()];
    let digit = paragraph.find(|char: char| char.is_ascii_digit());
    let (before, after) = paragraph.split_at(digit.unwrap_or(0));
    let after = after.trim_start_matches(|char: char| char.is_ascii_digit());
    let count = LENGTH / (paragraph.len() + 6);
    let copies = (0..count).map(|n| format!("\n\n{before}{n}{after}"));
    text.to_owned() + &copies.collect::<String>()
}
