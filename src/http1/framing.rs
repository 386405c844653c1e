//! Where a message ends: RFC 9112 section 6.3, in its order.

use crate::message::{FieldName, Fields, Method, NameSet, RequestHead, ResponseHead, Version};

use super::content_length::content_length;
use super::transfer_coding::is_chunked;
use super::{Reason, Scan};

/// How the end of a message is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// It ends with its head.
    None,
    /// So many bytes follow; zero was said in so many words.
    Length(u64),
    /// Chunks follow, and perhaps trailers.
    Chunked,
    /// What follows until the connection ends; responses only.
    UntilClose,
}

const FRAMING: NameSet = NameSet::of(&[FieldName::ContentLength, FieldName::TransferEncoding]);

/// The framing of a request.
pub(super) struct Framed {
    pub(super) framing: Framing,
    /// RFC 9112 section 6.3: the connection is to be closed after it.
    pub(super) is_last: bool,
}

/// Decides the framing of a request, and leaves at most one framing field in its head, in its
/// canonical form.
pub(super) fn of_request(head: &mut RequestHead, scan: &mut Scan) -> Result<Framed, Reason> {
    if !head.fields.may_contain(FRAMING) {
        return Ok(Framed {
            framing: Framing::None,
            is_last: false,
        });
    }
    let version = head.version();
    let is_chunked = chunked(version, &head.fields)?;
    let length = canonical_length(&mut head.fields, scan)?;
    let is_last = is_chunked && length.is_some();
    if is_last {
        scan.note(Reason::BothLengths);
        head.fields.remove(FieldName::ContentLength);
    }
    let framing = match length {
        _ if is_chunked => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::None,
    };
    if head.method().has_no_content()
        && let Some(reason) = undefined_content(framing)
    {
        scan.note(reason);
    }
    Ok(Framed { framing, is_last })
}

/// Decides the framing of a response to a request with this method.
pub(super) fn of_response(
    head: &mut ResponseHead,
    method: Method,
    scan: &mut Scan,
) -> Result<Framing, Reason> {
    let (version, status) = (head.version(), head.status());
    let fields = &mut head.fields;
    if has_no_body(method, status) {
        return no_body(fields, method, status, scan);
    }
    let is_chunked = chunked(version, fields)?;
    match (is_chunked, canonical_length(fields, scan)?) {
        (false, None) => Ok(Framing::UntilClose),
        (false, Some(length)) => Ok(Framing::Length(length)),
        (true, None) => Ok(Framing::Chunked),
        (true, Some(_)) => Err(Reason::BothLengths),
    }
}

/// Whether a response ends with its head whatever its fields say: the first two rules.
fn has_no_body(method: Method, status: u16) -> bool {
    let is_tunnel = method == Method::Connect && (200..300).contains(&status);
    method == Method::Head || status < 200 || matches!(status, 204 | 304) || is_tunnel
}

/// In answers to HEAD and in 304 the length is information (RFC 9110 section 8.6) and stays; in
/// others it is forbidden.
fn no_body(
    fields: &mut Fields,
    method: Method,
    status: u16,
    scan: &mut Scan,
) -> Result<Framing, Reason> {
    let may_inform = status == 304 || (method == Method::Head && status >= 200 && status != 204);
    if !may_inform || fields.contains(FieldName::TransferEncoding) {
        fields.remove(FieldName::ContentLength);
    }
    canonical_length(fields, scan)?;
    Ok(Framing::None)
}

/// RFC 9112 section 6.1: HTTP/1.0 has no transfer codings, so such a message is faulty.
fn chunked(version: Version, fields: &Fields) -> Result<bool, Reason> {
    let is_chunked = is_chunked(fields);
    if version == Version::Http10 && is_chunked != Ok(false) {
        return Err(Reason::TransferCodingIn10);
    }
    is_chunked
}

/// The length, which is the only one in the fields afterwards and has its shortest form.
fn canonical_length(fields: &mut Fields, scan: &mut Scan) -> Result<Option<u64>, Reason> {
    let Some(found) = content_length(fields)? else {
        return Ok(None);
    };
    if let Some(reason) = found.reason {
        scan.note(reason);
        let text = found.length.to_string();
        fields
            .set(FieldName::ContentLength, text.as_bytes())
            .expect("digits may stand in a value");
    }
    Ok(Some(found.length))
}

/// What to say of content in a request whose method gives it no meaning.
fn undefined_content(framing: Framing) -> Option<Reason> {
    match framing {
        Framing::None | Framing::UntilClose => None,
        Framing::Length(0) => Some(Reason::ZeroContentLength),
        Framing::Length(_) => Some(Reason::UndefinedContentLength),
        Framing::Chunked => Some(Reason::UndefinedTransferCoding),
    }
}
