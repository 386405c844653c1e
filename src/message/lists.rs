//! Lists separated by commas.

/// The members of a list without the whitespace around them; empty members are left out, as
/// RFC 9110 section 5.6.1.2 demands. Commas in quoted strings separate as well: for lists of tokens.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}
