//! What a target sends, read by the codec alone. The properties are those of `request_head`.

use weir::http1::{Limits, Scan, parse_response};
use weir::message::{Method, ResponseHead};

use super::cuts::every_cut;
use crate::codec::reader::{RESPONSE_LIMITS, Reader, meanings};
use crate::codec::reference;

/// The first byte of the input says which request it answers, and which limits there are.
const METHODS: [Method; 3] = [Method::Get, Method::Head, Method::Connect];

pub(super) fn run(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let first = usize::from(*first);
    let method = METHODS[first % METHODS.len()];
    let limits = [Limits::RESPONSE, RESPONSE_LIMITS][first / METHODS.len() % 2];
    check_head(bytes, method, &limits);
    let mut whole = Reader::of_responses(method, limits);
    whole.push(bytes);
    let decided = whole.end();
    every_cut(bytes, |parts| {
        let mut reader = Reader::of_responses(method, limits);
        for part in parts {
            reader.push(part);
        }
        assert_eq!(reader.end(), decided);
        assert_eq!(reader.output, whole.output);
    });
    let is_final = whole
        .messages
        .last()
        .is_some_and(|message| !message.start.0.starts_with(b"1") || message.start.0 == b"101");
    if is_final {
        let read = reference::responses(&whole.output, method).expect("well-formed");
        assert_eq!(meanings(&read), meanings(&whole.messages));
        let mut again = Reader::of_responses(method, Limits::RESPONSE);
        again.push(&whole.output);
        assert!(!again.end().contains("refused"));
        assert_eq!(meanings(&again.messages), meanings(&whole.messages));
        if !whole.parsed.iter().any(|parsed| parsed.upgrade) {
            assert_eq!(again.output, whole.output);
        }
    }
}

/// One head, as the parser returns it.
fn check_head(bytes: &[u8], method: Method, limits: &Limits) {
    let (mut scan, mut head) = (Scan::new(), ResponseHead::new());
    let Ok(Some(parsed)) = parse_response(bytes, &mut scan, limits, method, &mut head) else {
        return;
    };
    assert!(parsed.length <= bytes.len().min(limits.max_head));
    assert!(head.fields.len() <= limits.max_fields);
    assert!((100..1000).contains(&head.status()));
    let mut edited = head.clone();
    edited.set_status(head.status()).expect("a legal status");
    for field in head.fields.iter() {
        let name = std::str::from_utf8(field.name).expect("a token");
        edited.fields.append(name, field.value).expect("legal");
    }
}
