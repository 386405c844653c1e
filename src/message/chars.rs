//! Classes of bytes, from the grammars of RFC 9110 section 5.6.2 and RFC 3986 section 2.

/// `tchar`: what names of fields and methods consist of.
pub(crate) const TOKEN: u8 = 1;
/// What a request target may contain besides percent-encoded bytes: `pchar`, `/` and `?`.
pub(crate) const TARGET: u8 = 2;
/// What RFC 3986 excludes from targets, and browsers send in them nevertheless.
pub(crate) const LOOSE: u8 = 4;
/// `reg-name` of an authority, besides percent-encoded bytes.
pub(super) const HOST: u8 = 8;
/// Letters, digits and the hyphen: what most names of fields consist of. A CGI may take another
/// `tchar` for a hyphen.
pub(crate) const PLAIN: u8 = 16;
/// Hexadecimal digits.
pub(super) const HEX: u8 = 32;

static CLASSES: [u8; 256] = classes();

/// Whether `byte` is in one of the classes.
pub(crate) fn is_in(byte: u8, classes: u8) -> bool {
    CLASSES[usize::from(byte)] & classes != 0
}

/// How many bytes at the beginning are in a class.
pub(crate) fn prefix(bytes: &[u8], class: u8) -> usize {
    debug_assert!(class.is_power_of_two(), "groups are tested for one class");
    let (groups, rest) = bytes.as_chunks::<4>();
    let class_of = |byte: u8| CLASSES[usize::from(byte)];
    for (index, group) in groups.iter().enumerate() {
        let [a, b, c, d] = *group;
        if class_of(a) & class_of(b) & class_of(c) & class_of(d) & class == 0 {
            return index * 4 + prefix_of_few(group, class);
        }
    }
    groups.len() * 4 + prefix_of_few(rest, class)
}

fn prefix_of_few(bytes: &[u8], class: u8) -> usize {
    let length = bytes.iter().position(|byte| !is_in(*byte, class));
    length.unwrap_or(bytes.len())
}

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let is_alphanumeric = (byte as u8).is_ascii_alphanumeric();
        if is_alphanumeric {
            table[byte] |= TOKEN | TARGET | HOST | PLAIN;
        }
        if (byte as u8).is_ascii_hexdigit() {
            table[byte] |= HEX;
        }
        byte += 1;
    }
    mark(&mut table, b"!#$%&'*+-.^_`|~", TOKEN);
    mark(&mut table, b"-", PLAIN);
    mark(&mut table, b"-._~!$&'()*+,;=", TARGET | HOST);
    mark(&mut table, b":@/?", TARGET);
    mark(&mut table, b"[]^`{|}", LOOSE);
    table
}

const fn mark(table: &mut [u8; 256], bytes: &[u8], class: u8) {
    let mut index = 0;
    while index < bytes.len() {
        table[bytes[index] as usize] |= class;
        index += 1;
    }
}
