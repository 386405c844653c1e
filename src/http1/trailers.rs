//! The trailer section of a chunked body (RFC 9112 section 7.1.2).

use crate::message::{FieldName, Fields, IdentityFields, NameSet};

use super::field_section;
use super::line::Stop;
use super::{Limits, Reason, Scan, Violation};

/// What must not stand in trailers, because it frames, routes, authenticates, modifies the request
/// or says how content is to be read (RFC 9110 section 6.5.1): it is dropped, as nothing may be
/// done by it any more.
pub(super) const FORBIDDEN: NameSet = NameSet::of(&[
    FieldName::Host,
    FieldName::Connection,
    FieldName::KeepAlive,
    FieldName::ProxyConnection,
    FieldName::Te,
    FieldName::Trailer,
    FieldName::TransferEncoding,
    FieldName::Upgrade,
    FieldName::Http2Settings,
    FieldName::ContentLength,
    FieldName::ContentType,
    FieldName::ContentEncoding,
    FieldName::ContentRange,
    FieldName::ContentLocation,
    FieldName::ContentLanguage,
    FieldName::Expect,
    FieldName::MaxForwards,
    FieldName::Via,
    FieldName::Date,
    FieldName::Age,
    FieldName::Expires,
    FieldName::Vary,
    FieldName::Warning,
    FieldName::Pragma,
    FieldName::CacheControl,
    FieldName::Location,
    FieldName::RetryAfter,
    FieldName::Range,
    FieldName::Cookie,
    FieldName::SetCookie,
    FieldName::Authorization,
    FieldName::AuthenticationInfo,
    FieldName::WwwAuthenticate,
    FieldName::ProxyAuthenticate,
    FieldName::ProxyAuthorization,
    FieldName::ProxyAuthenticationInfo,
    FieldName::Forwarded,
    FieldName::XForwardedFor,
    FieldName::XForwardedProto,
    FieldName::XForwardedHost,
    FieldName::XForwardedPort,
    FieldName::XForwardedSsl,
    FieldName::XForwardedScheme,
    FieldName::XForwardedPrefix,
    FieldName::XRealIp,
    FieldName::TrueClientIp,
    FieldName::XClientIp,
    FieldName::XOriginalUrl,
    FieldName::XRewriteUrl,
    FieldName::Origin,
    FieldName::IfMatch,
    FieldName::IfNoneMatch,
    FieldName::IfModifiedSince,
    FieldName::IfUnmodifiedSince,
    FieldName::IfRange,
    FieldName::SecWebSocketKey,
    FieldName::SecWebSocketVersion,
    FieldName::SecWebSocketAccept,
    FieldName::SecWebSocketProtocol,
    FieldName::SecWebSocketExtensions,
]);

/// Drops what must not stand in trailers. What says something of a client's certificate is dropped as
/// well, whichever peer has sent it: it belongs in the head, where it is checked.
pub fn strip(fields: &mut Fields) {
    fields.remove_all(FORBIDDEN);
    IdentityFields::remove_certificate(fields);
}

/// A section that is not complete. Its bytes are kept here, because nearly no body has one.
#[derive(Clone, Debug)]
pub(super) struct TrailerSection {
    read: Vec<u8>,
    scan: Scan,
    /// Those of a head that is as long as a trailer section may be.
    limits: Limits,
    pub(super) fields: Fields,
}

impl TrailerSection {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            read: Vec::new(),
            scan: Scan::for_fields(),
            limits: Limits {
                // The empty line at the end.
                max_head: limits.max_trailers.max(2),
                ..*limits
            },
            fields: Fields::new(),
        }
    }

    /// Takes bytes; says how many of them belonged to the section, if it is complete.
    pub(super) fn take(&mut self, input: &[u8]) -> Result<Option<usize>, Violation> {
        let before = self.read.len();
        let space = self.limits.head_bytes() - before;
        self.read
            .extend_from_slice(&input[..input.len().min(space)]);
        if self.scan.is_waiting(&self.read, &self.limits) {
            return Ok(None);
        }
        let result =
            field_section::read(&self.read, &mut self.scan, &self.limits, &mut self.fields);
        self.fields.extend_text(&self.read[..self.scan.line]);
        match result {
            Ok(()) => {
                strip(&mut self.fields);
                Ok(Some(self.scan.line - before))
            }
            Err(stop) => self.stop(stop),
        }
    }

    fn stop(&mut self, stop: Stop) -> Result<Option<usize>, Violation> {
        let too_large = |_: &Scan| Reason::TrailersTooLarge;
        self.scan.stop(stop, &self.read, &self.limits, too_large)?;
        Ok(None)
    }
}
