//! The fields of a head, and of a trailer section.

use crate::message::Fields;

use super::field_line::{self, FieldLine, Line};
use super::line::Stop;
use super::look_alike::look_alike;
use super::{FieldNames, Limits, Reason, Scan};

/// Reads lines up to the empty one, and moves the scan with each line that is complete.
pub(super) fn read(
    bytes: &[u8],
    scan: &mut Scan,
    limits: &Limits,
    fields: &mut Fields,
) -> Result<(), Stop> {
    loop {
        match field_line::read(bytes, scan.line).map_err(|stop| at_first_line(stop, scan))? {
            Line::Field(line) => {
                take(bytes, &line, scan, limits, fields)?;
                scan.line = line.next;
            }
            Line::End(next) => {
                scan.line = next;
                return Ok(());
            }
        }
    }
}

/// There is nothing before the first line that could be folded.
fn at_first_line(stop: Stop, scan: &Scan) -> Stop {
    match stop {
        Stop::Fault(Reason::ObsFold) if scan.field_lines == 0 => {
            Reason::WhitespaceBeforeFields.into()
        }
        stop => stop,
    }
}

fn take(
    bytes: &[u8],
    line: &FieldLine,
    scan: &mut Scan,
    limits: &Limits,
    fields: &mut Fields,
) -> Result<(), Stop> {
    scan.field_lines += 1;
    if scan.field_lines > limits.max_fields {
        return Err(Reason::TooManyFields.into());
    }
    if !line.is_ascii {
        scan.note(Reason::NonAsciiValue);
    }
    if !line.is_plain && is_dropped(line.name.of(bytes), scan, limits) {
        scan.dropped_fields += 1;
    } else {
        fields.push_parsed(line.name, line.value, line.id, line.is_verbatim);
    }
    Ok(())
}

fn is_dropped(name: &[u8], scan: &mut Scan, limits: &Limits) -> bool {
    let found = look_alike(name);
    if let Some(reason) = found.reason {
        scan.note(reason);
    }
    found.is_folded && limits.field_names == FieldNames::Strict
}
