//! However bytes are cut on their way, the result is the same.

use super::reader::Reader;
use super::tables;

/// What became of the bytes.
type Outcome = (String, Vec<u8>);

fn outcome(mut reader: Reader, parts: &[&[u8]]) -> Outcome {
    for part in parts {
        reader.push(part);
    }
    (reader.end(), reader.output)
}

#[test]
fn byte_by_byte_is_as_whole() {
    for (case, reader) in tables::all() {
        let whole = outcome(reader(&case), &[&case.input]);
        let bytes: Vec<&[u8]> = case.input.chunks(1).collect();
        assert_eq!(outcome(reader(&case), &bytes), whole, "{}", case.name);
    }
}

#[test]
fn two_parts_are_as_whole_wherever_they_are_cut() {
    for (case, reader) in tables::all() {
        let whole = outcome(reader(&case), &[&case.input]);
        for at in 0..=case.input.len() {
            let (first, second) = case.input.split_at(at);
            let parts = outcome(reader(&case), &[first, second]);
            assert_eq!(parts, whole, "{} cut at {at}", case.name);
        }
    }
}

#[test]
fn equal_parts_of_every_length_are_as_whole() {
    for (case, reader) in tables::all() {
        let whole = outcome(reader(&case), &[&case.input]);
        for length in 2..40 {
            let parts: Vec<&[u8]> = case.input.chunks(length).collect();
            assert_eq!(
                outcome(reader(&case), &parts),
                whole,
                "{} by {length}",
                case.name
            );
        }
    }
}
