//! Heads from and to the types of the `http` crate, for protocols whose crates use it. HTTP/1.1
//! does not come here.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, request, response};

use super::{
    Field, FieldName, Fields, HOP_BY_HOP, Invalid, NameSet, RequestHead, ResponseHead, Version,
};

/// Not copied into a head of HTTP/2: they concern a connection of HTTP/1.1 (RFC 9113 section 8.2.2),
/// or are written from what is known.
pub const NOT_IN_HTTP2: NameSet = HOP_BY_HOP.and(NameSet::of(&[FieldName::ContentLength]));

/// A head that the other form does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotConvertible;

impl fmt::Display for NotConvertible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the head cannot be converted")
    }
}

impl std::error::Error for NotConvertible {}

impl From<Invalid> for NotConvertible {
    fn from(_: Invalid) -> Self {
        Self
    }
}

impl RequestHead {
    /// The head of a request that came over another wire than HTTP/1. Its authority becomes the
    /// Host field (RFC 9113 section 8.3.1), its target path and query.
    pub fn from_http(parts: &request::Parts) -> Result<Self, NotConvertible> {
        let mut head = Self::new();
        head.set_method(parts.method.as_str().as_bytes())?;
        head.set_target(target_of(&parts.method, &parts.uri)?.as_bytes())?;
        head.fields.extend_from_map(&parts.headers)?;
        if let Some(authority) = parts.uri.authority() {
            head.fields.remove(FieldName::Host);
            head.set_host(authority.as_str().as_bytes())?;
        }
        Ok(head)
    }

    /// The parts of a request with this head; the URI is the target alone.
    pub fn to_http(&self) -> Result<request::Parts, NotConvertible> {
        let uri = Uri::try_from(self.target()).map_err(|_| NotConvertible)?;
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = http::Method::from_bytes(self.method_name()).map_err(|_| NotConvertible)?;
        parts.uri = uri;
        parts.version = version_of(self.version());
        parts.headers = self.fields.to_map()?;
        Ok(parts)
    }
}

impl ResponseHead {
    /// The head of a response that came over another wire than HTTP/1.
    pub fn from_http(parts: &response::Parts) -> Result<Self, NotConvertible> {
        let mut head = Self::new();
        head.set_status(parts.status.as_u16())?;
        head.fields.extend_from_map(&parts.headers)?;
        Ok(head)
    }

    /// The parts of a response with this head.
    pub fn to_http(&self) -> Result<response::Parts, NotConvertible> {
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = http::StatusCode::from_u16(self.status()).map_err(|_| NotConvertible)?;
        parts.version = version_of(self.version());
        parts.headers = self.fields.to_map()?;
        Ok(parts)
    }
}

impl Fields {
    /// Adds the fields of a map.
    pub fn extend_from_map(&mut self, map: &HeaderMap) -> Result<(), NotConvertible> {
        for (name, value) in map {
            self.append(name.as_str(), value.as_bytes())?;
        }
        Ok(())
    }

    /// A map with the same fields. The order among different names and the case of names are lost.
    pub fn to_map(&self) -> Result<HeaderMap, NotConvertible> {
        let mut map = HeaderMap::new();
        self.add_to(&mut map, NameSet::default())?;
        Ok(map)
    }

    /// Adds the fields to a map, but those of `left_out`. Every name is a token and every value free of
    /// controls, in both worlds: fails if one is not, or beyond some ten thousand fields, which no
    /// head has. All others are added then.
    pub fn add_to(&self, map: &mut HeaderMap, left_out: NameSet) -> Result<(), NotConvertible> {
        let mut result = Ok(());
        for field in self.iter().filter(|field| !left_out.contains(field.id)) {
            let added = convert(field)
                .and_then(|(name, value)| map.try_append(name, value).map_err(|_| NotConvertible));
            result = result.and(added.map(|_| ()));
        }
        result
    }
}

/// A field with its name in lower case.
fn convert(field: Field<'_>) -> Result<(HeaderName, HeaderValue), NotConvertible> {
    let name = HeaderName::from_bytes(field.name).map_err(|_| NotConvertible)?;
    let mut value = HeaderValue::from_bytes(field.value).map_err(|_| NotConvertible)?;
    // Never sent again, so it would only take the place of others in the table of HPACK.
    value.set_sensitive(field.id == FieldName::XRequestId);
    Ok((name, value))
}

fn target_of<'u>(method: &http::Method, uri: &'u Uri) -> Result<&'u str, NotConvertible> {
    if *method == http::Method::CONNECT {
        return Ok(uri.authority().ok_or(NotConvertible)?.as_str());
    }
    let target = uri.path_and_query().map(http::uri::PathAndQuery::as_str);
    Ok(target.filter(|target| !target.is_empty()).unwrap_or("/"))
}

fn version_of(version: Version) -> http::Version {
    match version {
        Version::Http10 => http::Version::HTTP_10,
        Version::Http11 => http::Version::HTTP_11,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Form;
    use super::*;

    #[test]
    fn an_authority_form_survives_both_ways() {
        let mut parts = Request::new(()).into_parts().0;
        parts.method = http::Method::CONNECT;
        parts.uri = Uri::from_static("a.example:443");
        let head = RequestHead::from_http(&parts).expect("valid");
        assert_eq!(head.form(), Form::Authority);
        assert_eq!(
            head.fields.get(FieldName::Host),
            Some(&b"a.example:443"[..])
        );
        assert_eq!(head.to_http().expect("valid").uri, parts.uri);
    }
}
