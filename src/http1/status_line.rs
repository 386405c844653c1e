//! The status line: `HTTP-version SP status-code SP [ reason-phrase ]` and CRLF (RFC 9112 section 4).

use crate::message::{ResponseHead, Span, Version};

use super::field_line::value_end;
use super::line::{Stop, crlf, fault_at};
use super::{Reason, Scan};

/// Reads the line and moves the scan behind it.
pub(super) fn read(bytes: &[u8], scan: &mut Scan, out: &mut ResponseHead) -> Result<(), Stop> {
    let version = version(bytes, scan)?;
    let status = status(bytes)?;
    let (reason, next) = reason(bytes, scan)?;
    if status > 599 {
        scan.note(Reason::StatusOutOfRange);
    }
    out.set_line(version, status, reason);
    scan.line = next;
    scan.has_start_line = true;
    Ok(())
}

/// `HTTP/1.1` and a space, in which nothing has another length.
fn version(bytes: &[u8], scan: &mut Scan) -> Result<Version, Stop> {
    match bytes {
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'1',
            b'.',
            minor @ b'0'..=b'9',
            b' ',
            ..,
        ] => {
            if *minor > b'1' {
                scan.note(Reason::NonCompliantVersion);
            }
            Ok(if *minor == b'0' {
                Version::Http10
            } else {
                Version::Http11
            })
        }
        _ => Err(version_fault(bytes)),
    }
}

fn version_fault(bytes: &[u8]) -> Stop {
    let right = b"HTTP/1.1 "
        .iter()
        .zip(bytes)
        .enumerate()
        .take_while(|(at, (wanted, byte))| wanted == byte || *at == 7 && byte.is_ascii_digit())
        .count();
    let reason = match bytes.get(right) {
        Some(b'0'..=b'9') if right == 5 => Reason::UnsupportedVersion,
        _ => Reason::BadStatusLine,
    };
    fault_at(bytes, right, reason)
}

/// Three digits, the first of which is not zero.
fn status(bytes: &[u8]) -> Result<u16, Stop> {
    let mut status = 0;
    for at in 9..12 {
        match bytes.get(at) {
            Some(digit @ b'0'..=b'9') if at > 9 || *digit > b'0' => {
                status = status * 10 + u16::from(digit - b'0');
            }
            _ => return Err(fault_at(bytes, at, Reason::BadStatus)),
        }
    }
    Ok(status)
}

/// The phrase, which may be empty. Many servers leave out the space before an empty one.
fn reason(bytes: &[u8], scan: &mut Scan) -> Result<(Span, usize), Stop> {
    match bytes.get(12) {
        Some(b' ') => {
            let (end, _) = value_end(bytes, 13);
            let next = crlf(bytes, end, Reason::ControlByte)?;
            Ok((Span::new(13, end), next))
        }
        Some(b'\r') => {
            let next = crlf(bytes, 12, Reason::BadStatus)?;
            scan.note(Reason::MissingReasonSpace);
            Ok((Span::new(12, 12), next))
        }
        _ => Err(fault_at(bytes, 12, Reason::BadStatus)),
    }
}
