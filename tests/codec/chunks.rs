//! Chunked bodies: bounds that a table cannot show, and round trips.

use proptest::prelude::*;
use weir::http1::{
    Chunked, Limits, Reason, Step, encode_chunk_end, encode_chunk_header, encode_last_chunk,
};
use weir::message::Fields;

/// Reads all of the input; data, trailers and what is left, or the fault.
fn decode(input: &[u8]) -> Result<(Vec<u8>, Fields, usize), Reason> {
    let mut chunked = Chunked::new(&Limits::REQUEST);
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        match chunked
            .decode(&input[at..])
            .map_err(|violation| violation.reason)?
        {
            Step::Data(range) => {
                data.extend_from_slice(&input[at..][range.clone()]);
                at += range.end;
            }
            Step::More => panic!("the body goes on"),
            Step::End(length) => {
                return Ok((data, chunked.take_trailers(), input.len() - at - length));
            }
        }
    }
}

fn with_extensions(count: usize, extension: usize, data: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..count {
        body.extend(format!("{data:x};{}\r\n", "e".repeat(extension - 1)).bytes());
        body.extend(vec![b'x'; data]);
        body.extend(b"\r\n");
    }
    body.extend(b"0\r\n\r\n");
    body
}

#[test]
fn extensions_are_bounded_in_proportion_to_data() {
    // One byte of data pays for one of extensions, after the first 16 KiB.
    decode(&with_extensions(1000, 100, 100)).unwrap();
    decode(&with_extensions(160, 100, 1)).unwrap();
    let fault = decode(&with_extensions(1000, 100, 1)).unwrap_err();
    assert_eq!(fault, Reason::ChunkExtensionsTooLong);
}

#[test]
fn a_body_that_is_complete_takes_nothing_more() {
    let mut chunked = Chunked::new(&Limits::REQUEST);
    assert_eq!(chunked.decode(b"0\r\n\r\nGET"), Ok(Step::End(5)));
    assert!(chunked.is_end());
    assert_eq!(chunked.decode(b"GET"), Ok(Step::End(0)));
    assert_eq!(chunked.decode(b""), Ok(Step::End(0)));
}

#[test]
fn data_is_given_as_it_comes() {
    let mut chunked = Chunked::new(&Limits::REQUEST);
    assert_eq!(chunked.decode(b"5\r\nhe"), Ok(Step::Data(3..5)));
    assert_eq!(chunked.decode(b""), Ok(Step::More));
    assert_eq!(chunked.decode(b"llo\r\n2"), Ok(Step::Data(0..3)));
    assert_eq!(chunked.decode(b"\r\n2"), Ok(Step::More));
    assert_eq!(chunked.decode(b"\r\nab\r\n0\r\n"), Ok(Step::Data(2..4)));
    assert_eq!(chunked.decode(b"\r\n0\r\nX: "), Ok(Step::More));
    assert!(!chunked.is_end());
    assert_eq!(chunked.decode(b"y\r\n\r\nrest"), Ok(Step::End(5)));
    assert_eq!(chunked.take_trailers().get_by_name("x"), Some(&b"y"[..]));
}

#[test]
fn trailers_of_an_incomplete_body_are_not_given() {
    let mut chunked = Chunked::new(&Limits::REQUEST);
    assert_eq!(chunked.decode(b"0\r\nX: y\r\n"), Ok(Step::More));
    assert!(chunked.take_trailers().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn what_is_encoded_is_decoded(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
        trailers in proptest::collection::vec(("X-[a-z]{1,4}", "[!-~]{0,6}"), 0..4),
        rest in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut fields = Fields::new();
        for (name, value) in &trailers {
            fields.append(name, value.as_bytes()).unwrap();
        }
        let mut body = Vec::new();
        for chunk in &chunks {
            encode_chunk_header(chunk.len() as u64, &mut body);
            body.extend_from_slice(chunk);
            encode_chunk_end(&mut body);
        }
        encode_last_chunk(Some(&fields), &mut body);
        body.extend_from_slice(&rest);
        let (data, read, left) = decode(&body).unwrap();
        prop_assert_eq!(data, chunks.concat());
        prop_assert_eq!(left, rest.len());
        prop_assert_eq!(format!("{read:?}"), format!("{fields:?}"));
    }
}
