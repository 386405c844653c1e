//! The Host field (RFC 9112 section 3.2, RFC 9110 section 7.2).

use crate::message::{Authority, FieldName, Method, RequestHead, TargetShape, Version};

use super::Reason;

/// Checks that Host is there once and valid. It may be empty, as for a URI without authority; a
/// request of HTTP/1.0 may come without.
pub(super) fn check(head: &RequestHead) -> Result<(), Reason> {
    let mut values = head.fields.get_all(FieldName::Host);
    match (values.next(), head.version()) {
        (Some(host), _) => Authority::parse(host).ok_or(Reason::BadHost)?,
        (None, Version::Http10) => return Ok(()),
        (None, Version::Http11) => return Err(Reason::MissingHost),
    };
    if values.next().is_some() {
        return Err(Reason::DuplicateHost);
    }
    Ok(())
}

/// Turns an absolute target into what an origin server is sent: the authority becomes Host, whatever
/// Host was (RFC 9112 section 3.2.2), and path and query become the target.
pub(super) fn take_absolute(head: &mut RequestHead) -> Result<(), Reason> {
    let target = head.target().to_vec();
    let shape = TargetShape::find(head.method(), &target).map_err(|_| Reason::BadTargetForm)?;
    let host = head
        .fields
        .set(FieldName::Host, shape.authority.of(&target));
    host.map_err(|_| Reason::BadAuthority)?;
    let target = match shape.rest.of(&target) {
        // RFC 9112 section 3.2.4: the whole server is meant.
        [] if head.method() == Method::Options => b"*".to_vec(),
        rest @ [b'/', ..] => rest.to_vec(),
        // RFC 9110 section 4.2.3: an empty path is that of the root.
        rest => [b"/", rest].concat(),
    };
    head.move_target(&target);
    Ok(())
}
