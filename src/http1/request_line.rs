//! The request line: `method SP request-target SP HTTP-version` and CRLF (RFC 9112 section 3).

use crate::message::{
    Form, LOOSE, Method, RequestHead, Span, TARGET, TOKEN, TargetFault, TargetShape, Version,
    is_in, prefix,
};

use super::line::{Stop, crlf, fault_at};
use super::{Limits, Reason, Scan, TargetBytes};

/// Longer than any registered method (`VERSION-CONTROL`, `UPDATEREDIRECTREF`).
const MAX_METHOD: usize = 32;

/// RFC 9112 section 2.2 asks to ignore one; some clients send a CRLF after each body.
const MAX_EMPTY_LINES: u32 = 4;

/// The first byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// Reads the line with the empty lines before it, and moves the scan behind it.
pub(super) fn read(
    bytes: &[u8],
    scan: &mut Scan,
    limits: &Limits,
    out: &mut RequestHead,
) -> Result<(), Stop> {
    skip_empty_lines(bytes, scan)?;
    let start = scan.line;
    let method_end = method_end(bytes, start)?;
    let method = Method::from_bytes(&bytes[start..method_end]);
    let target_start = method_end + 1;
    let target_end = target_end(bytes, target_start, scan, limits)?;
    let target = &bytes[target_start..target_end];
    let is_preface = bytes[start..target_end] == *b"PRI *";
    let (version, next) = version(bytes, target_end + 1, scan).map_err(|stop| match stop {
        Stop::Fault(Reason::UnsupportedVersion) if is_preface => Reason::Http2Preface.into(),
        stop => stop,
    })?;
    let shape = TargetShape::find(method, target).map_err(reason_of)?;
    if shape.form == Form::Absolute {
        check_brackets(shape.rest.of(target), scan, limits)?;
    }
    out.set_line(
        method,
        Span::new(start, method_end),
        Span::new(target_start, target_end),
        shape.form,
        version,
    );
    scan.line = next;
    scan.has_start_line = true;
    Ok(())
}

/// Whether the target is what fills the window: then its length is the fault (RFC 9112 section 3).
pub(super) fn ends_in_target(window: &[u8], scan: &Scan) -> bool {
    let line = window.get(scan.line..).unwrap_or_default();
    let method = prefix(line, TOKEN);
    line.get(method) == Some(&b' ') && !line[method + 1..].contains(&b' ')
}

fn skip_empty_lines(bytes: &[u8], scan: &mut Scan) -> Result<(), Stop> {
    while let Some(b'\r' | b'\n') = bytes.get(scan.line) {
        scan.line = crlf(bytes, scan.line, Reason::BareCr)?;
        scan.empty_lines += 1;
        if scan.empty_lines > MAX_EMPTY_LINES {
            return Err(Reason::TooManyEmptyLines.into());
        }
    }
    Ok(())
}

fn method_end(bytes: &[u8], start: usize) -> Result<usize, Stop> {
    let length = prefix(&bytes[start..], TOKEN);
    if length > MAX_METHOD {
        return Err(Reason::MethodTooLong.into());
    }
    let end = start + length;
    match bytes.get(end) {
        Some(b' ') if length > 0 => Ok(end),
        Some(&TLS_HANDSHAKE) if length == 0 => Err(Reason::TlsHello.into()),
        _ => Err(fault_at(bytes, end, Reason::BadMethod)),
    }
}

/// The space after the target.
fn target_end(bytes: &[u8], start: usize, scan: &mut Scan, limits: &Limits) -> Result<usize, Stop> {
    let mut at = start;
    loop {
        at += prefix(&bytes[at..], TARGET);
        if at - start > limits.max_target {
            return Err(Reason::TargetTooLong.into());
        }
        at = match bytes.get(at) {
            Some(b' ') if at > start => return Ok(at),
            Some(b'%') => percent_end(bytes, at, scan, limits)?,
            // An IP literal may stand in an authority, and nowhere else.
            Some(b'[' | b']') if bytes[start] != b'/' => at + 1,
            Some(byte) if is_in(*byte, LOOSE) && limits.target_bytes == TargetBytes::Browser => {
                scan.note(Reason::LooseTarget);
                at + 1
            }
            _ => return Err(target_fault(bytes, start, at)),
        };
    }
}

/// What follows a percent sign: two digits (RFC 3986 section 2.1), if browsers are not trusted.
fn percent_end(bytes: &[u8], at: usize, scan: &mut Scan, limits: &Limits) -> Result<usize, Stop> {
    for digit in [at + 1, at + 2] {
        match bytes.get(digit) {
            Some(byte) if byte.is_ascii_hexdigit() => {}
            None => return Err(Stop::Incomplete),
            Some(_) if limits.target_bytes == TargetBytes::Browser => {
                scan.note(Reason::LooseTarget);
                return Ok(at + 1);
            }
            Some(_) => return Err(fault_at(bytes, digit, Reason::BadPercentEncoding)),
        }
    }
    Ok(at + 3)
}

fn target_fault(bytes: &[u8], start: usize, at: usize) -> Stop {
    let reason = match bytes.get(at) {
        Some(b' ') => Reason::MissingTarget,
        Some(b'#') => Reason::FragmentInTarget,
        Some(b'\r') if at == start => Reason::MissingTarget,
        Some(b'\r') => Reason::MissingVersion,
        _ => Reason::BadTarget,
    };
    fault_at(bytes, at, reason)
}

/// The version at `at`, and what follows its line.
fn version(bytes: &[u8], at: usize, scan: &mut Scan) -> Result<(Version, usize), Stop> {
    match bytes.get(at..at + 10) {
        Some(b"HTTP/1.1\r\n") => Ok((Version::Http11, at + 10)),
        Some(b"HTTP/1.0\r\n") => Ok((Version::Http10, at + 10)),
        _ => other_version(bytes, at, scan),
    }
}

/// RFC 9110 section 2.5: a higher minor version is read as the highest that is known.
fn other_version(bytes: &[u8], at: usize, scan: &mut Scan) -> Result<(Version, usize), Stop> {
    let rest = bytes.get(at..).unwrap_or_default();
    let line_feed = memchr::memchr(b'\n', rest).ok_or(Stop::Incomplete)?;
    let (line, next) = (&rest[..line_feed], at + line_feed + 1);
    let line = line.strip_suffix(b"\r").ok_or(Reason::BareLf)?;
    match line {
        b"HTTP/1.0" => Ok((Version::Http10, next)),
        b"HTTP/1.1" => Ok((Version::Http11, next)),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => {
            scan.note(Reason::NonCompliantVersion);
            Ok((Version::Http11, next))
        }
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            Err(Reason::UnsupportedVersion.into())
        }
        _ => Err(version_fault(line).into()),
    }
}

fn version_fault(line: &[u8]) -> Reason {
    let is_control = |byte: &&u8| byte.is_ascii_control() && **byte != b'\t';
    match line.iter().find(is_control) {
        Some(b'\r') => Reason::BareCr,
        Some(0) => Reason::NulByte,
        Some(_) => Reason::ControlByte,
        None if line.is_empty() => Reason::MissingVersion,
        None if line.windows(6).any(|part| part == b" HTTP/") => Reason::SpaceInTarget,
        None => Reason::BadVersion,
    }
}

/// Brackets were let pass for the sake of an IP literal.
fn check_brackets(rest: &[u8], scan: &mut Scan, limits: &Limits) -> Result<(), Reason> {
    if rest.iter().any(|byte| matches!(byte, b'[' | b']')) {
        match limits.target_bytes {
            TargetBytes::Strict => return Err(Reason::BadTarget),
            TargetBytes::Browser => scan.note(Reason::LooseTarget),
        }
    }
    Ok(())
}

fn reason_of(fault: TargetFault) -> Reason {
    match fault {
        TargetFault::Form => Reason::BadTargetForm,
        TargetFault::Scheme => Reason::UnknownScheme,
        TargetFault::Authority => Reason::BadAuthority,
        TargetFault::UserInfo => Reason::UserInfo,
    }
}
