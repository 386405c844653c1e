//! Heads of responses.

use crate::message::{FieldName, Method, ResponseHead, Version};

use super::field_section;
use super::line::Stop;
use super::options::Options;
use super::{Class, Framing, Limits, Parsed, Reason, Scan, Violation, framing, status_line};

/// Reads the head of a response, to a request with this method, at the beginning of `buffer` into
/// `out`.
///
/// `None` means that the head is not complete, as for
/// [`parse_request`](super::parse_request). Nothing before a status line is skipped. After a head
/// with [`ResponseHead::is_interim`] another one follows.
pub fn parse_response(
    buffer: &[u8],
    scan: &mut Scan,
    limits: &Limits,
    method: Method,
    out: &mut ResponseHead,
) -> Result<Option<Parsed>, Violation> {
    let window = limits.window(buffer);
    if scan.is_waiting(window, limits) {
        return Ok(None);
    }
    match read(window, scan, limits, method, out) {
        Ok(parsed) => {
            scan.reset();
            Ok(Some(parsed))
        }
        Err(stop) => {
            out.fields.extend_text(&window[..scan.line]);
            let too_large = |_: &Scan| Reason::HeadTooLarge;
            let stopped = scan.stop(stop, window, limits, too_large);
            stopped.inspect_err(|_| out.clear()).map(|()| None)
        }
    }
}

fn read(
    bytes: &[u8],
    scan: &mut Scan,
    limits: &Limits,
    method: Method,
    out: &mut ResponseHead,
) -> Result<Parsed, Stop> {
    if !scan.has_start_line {
        out.reset();
        status_line::read(bytes, scan, out)?;
    }
    field_section::read(bytes, scan, limits, &mut out.fields)?;
    out.fields.extend_text(&bytes[..scan.line]);
    Ok(finish(scan, method, out)?)
}

/// What the whole head says.
fn finish(scan: &mut Scan, method: Method, head: &mut ResponseHead) -> Result<Parsed, Reason> {
    let framing = framing::of_response(head, method, scan)?;
    let options = Options::of(&head.fields);
    // A target whose framing is unclear once is not read from again.
    let is_clear = scan
        .reason
        .is_none_or(|reason| reason.class() < Class::Ambiguous);
    // RFC 9112 section 6.1: also where the coding frames nothing.
    let is_coded_10 =
        head.version() == Version::Http10 && head.fields.contains(FieldName::TransferEncoding);
    Ok(Parsed {
        length: scan.line,
        framing,
        reason: scan.reason,
        keep_alive: options.keeps_alive(head.version())
            && framing != Framing::UntilClose
            && is_clear
            && !is_coded_10,
        expects_continue: false,
        upgrade: options.upgrade && head.fields.contains(FieldName::Upgrade),
        dropped_fields: scan.dropped_fields,
    })
}
