//! Heads of requests.

use crate::message::{FieldName, Form, RequestHead, Version};

use super::field_section;
use super::framing::{self, Framed};
use super::line::Stop;
use super::options::Options;
use super::{Framing, Limits, Parsed, Reason, Scan, Violation, host, request_line};

/// Reads the head of a request at the beginning of `buffer` into `out`.
///
/// `None` means that the head is not complete: call again with the same bytes and more behind
/// them, the same `scan` and the same `out`. Until then `out` has what was complete.
pub fn parse_request(
    buffer: &[u8],
    scan: &mut Scan,
    limits: &Limits,
    out: &mut RequestHead,
) -> Result<Option<Parsed>, Violation> {
    let window = limits.window(buffer);
    if scan.is_waiting(window, limits) {
        return Ok(None);
    }
    match read(window, scan, limits, out) {
        Ok(parsed) => {
            scan.reset();
            Ok(Some(parsed))
        }
        Err(stop) => {
            out.fields.extend_text(&window[..scan.line]);
            let stopped = scan.stop(stop, window, limits, |scan| too_large(window, scan));
            stopped.inspect_err(|_| out.clear()).map(|()| None)
        }
    }
}

fn read(
    bytes: &[u8],
    scan: &mut Scan,
    limits: &Limits,
    out: &mut RequestHead,
) -> Result<Parsed, Stop> {
    if !scan.has_start_line {
        out.reset();
        request_line::read(bytes, scan, limits, out)?;
    }
    field_section::read(bytes, scan, limits, &mut out.fields)?;
    out.fields.extend_text(&bytes[..scan.line]);
    Ok(finish(scan, out)?)
}

/// What the whole head says.
fn finish(scan: &mut Scan, head: &mut RequestHead) -> Result<Parsed, Reason> {
    host::check(head)?;
    if head.form() == Form::Absolute {
        host::take_absolute(head)?;
    }
    let Framed { framing, is_last } = framing::of_request(head, scan)?;
    let version = head.version();
    let options = Options::of(&head.fields);
    let is_modern = version == Version::Http11;
    Ok(Parsed {
        length: scan.line,
        framing,
        reason: scan.reason,
        keep_alive: options.keeps_alive(version) && !is_last,
        expects_continue: is_modern
            && framing != Framing::None
            && head.fields.has_token(FieldName::Expect, "100-continue"),
        upgrade: is_modern && options.upgrade && head.fields.contains(FieldName::Upgrade),
        dropped_fields: scan.dropped_fields,
    })
}

fn too_large(window: &[u8], scan: &Scan) -> Reason {
    if !scan.has_start_line && request_line::ends_in_target(window, scan) {
        Reason::TargetTooLong
    } else {
        Reason::HeadTooLarge
    }
}
