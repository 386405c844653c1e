//! Tables of cases: raw bytes in, what is decided, raw bytes out.
//!
//! ```text
//! name of the case | RFC 9112 section 3
//!   > what comes, with ¶ for CRLF, escapes of Rust, and ⟨x*300⟩ for many of the same
//!   = what is decided, as `reader::Reader` says it
//!   < what goes on
//! ```
//!
//! Lines of one kind that follow each other are joined. In tables of responses the method of the
//! request stands in a third column; it is GET if there is none.

use weir::message::Method;

/// One case of a table.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) section: &'static str,
    pub(super) method: Method,
    pub(super) input: Vec<u8>,
    pub(super) decided: String,
    pub(super) output: Vec<u8>,
}

/// The cases of a table.
pub(super) fn cases(text: &'static str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        let Some((kind, rest)) = line.split_once(' ') else {
            assert!(line.is_empty(), "{line}");
            continue;
        };
        match kind {
            "#" => {}
            ">" => last(&mut cases).input.extend(unescape(rest)),
            "<" => last(&mut cases).output.extend(unescape(rest)),
            "=" => last(&mut cases).decided.push_str(rest),
            _ => cases.push(begin(line)),
        }
    }
    assert!(!cases.is_empty());
    cases
}

fn last(cases: &mut [Case]) -> &mut Case {
    cases.last_mut().expect("a name comes first")
}

fn begin(line: &'static str) -> Case {
    let mut columns = line.split(" | ");
    let name = columns.next().unwrap();
    let section = columns.next().expect(line);
    assert!(section.starts_with("RFC "), "{line}");
    let method = columns.next().unwrap_or("GET");
    Case {
        name,
        section,
        method: Method::from_bytes(method.as_bytes()),
        input: Vec::new(),
        decided: String::new(),
        output: Vec::new(),
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '¶' => bytes.extend(b"\r\n"),
            '⟨' => {
                let repeated: String = chars.by_ref().take_while(|char| *char != '⟩').collect();
                let (what, count) = repeated.rsplit_once('*').expect(text);
                bytes.extend(unescape(what).repeat(count.parse().expect(text)));
            }
            '\\' => bytes.push(match chars.next().expect(text) {
                'r' => b'\r',
                'n' => b'\n',
                't' => b'\t',
                '0' => 0,
                's' => b' ',
                '\\' => b'\\',
                'x' => {
                    let digits: String = chars.by_ref().take(2).collect();
                    u8::from_str_radix(&digits, 16).expect(text)
                }
                other => panic!("\\{other} in {text}"),
            }),
            char => bytes.extend(char.to_string().bytes()),
        }
    }
    bytes
}
