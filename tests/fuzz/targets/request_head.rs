//! What a client sends, read by the codec alone.
//!
//! However the bytes are cut, the same is decided. What goes on is read by the reference as what it
//! was taken for, one in, one out. Sent through a second time, it goes on unchanged.

use weir::http1::{Desync, FieldNames, Limits, Scan, decide, parse_request};
use weir::message::RequestHead;

use super::cuts::every_cut;
use crate::codec::reader::{Reader, meanings};
use crate::codec::reference;

/// The first byte of the input says which limits there are.
const LIMITS: [Limits; 3] = [
    Limits::REQUEST,
    Limits {
        field_names: FieldNames::Pass,
        ..Limits::REQUEST
    },
    crate::codec::reader::LIMITS,
];

pub(super) fn run(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let limits = LIMITS[usize::from(*first) % LIMITS.len()];
    check_head(bytes, &limits);
    let mut whole = Reader::of_requests(limits);
    whole.push(bytes);
    let decided = whole.end();
    every_cut(bytes, |parts| {
        let mut reader = Reader::of_requests(limits);
        for part in parts {
            reader.push(part);
        }
        assert_eq!(reader.end(), decided);
        assert_eq!(reader.output, whole.output);
    });
    let read = reference::requests(&whole.output).expect("well-formed");
    assert_eq!(meanings(&read), meanings(&whole.messages));
    let mut again = Reader::of_requests(LIMITS[1]);
    again.push(&whole.output);
    assert!(!again.end().contains("refused"));
    assert_eq!(meanings(&again.messages), meanings(&whole.messages));
    if !whole.parsed.iter().any(|parsed| parsed.upgrade) {
        assert_eq!(again.output, whole.output);
    }
}

/// One head, as the parser returns it.
fn check_head(bytes: &[u8], limits: &Limits) {
    let (mut scan, mut head) = (Scan::new(), RequestHead::new());
    let Ok(Some(parsed)) = parse_request(bytes, &mut scan, limits, &mut head) else {
        return;
    };
    assert!(parsed.length <= bytes.len().min(limits.max_head));
    assert!(head.fields.len() <= limits.max_fields);
    assert!(head.target().len() <= limits.max_target);
    // Each mode has an answer to each class.
    for mode in [Desync::Monitor, Desync::Defensive, Desync::Strictest] {
        let _ = decide(mode, parsed.class());
    }
    // What the parser takes is legal for code that edits heads, too.
    let mut edited = head.clone();
    edited.set_target(head.target()).expect("a legal target");
    edited.set_method(head.method_name()).expect("a token");
    for field in head.fields.iter() {
        let name = std::str::from_utf8(field.name).expect("a token");
        edited.fields.append(name, field.value).expect("legal");
    }
}
