//! Request targets: the four forms of RFC 9112 section 3.2.

use super::{Authority, Method, Span};

/// How a target was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// A path and perhaps a query: the form that most requests have, and that servers are sent.
    #[default]
    Origin,
    /// A whole URI. Its authority has become the Host field, and the target is what is left of it.
    Absolute,
    /// `host:port` of CONNECT.
    Authority,
    /// The `*` of OPTIONS.
    Asterisk,
}

/// The parts of a request target of legal bytes. Spans count from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TargetShape {
    pub(crate) form: Form,
    /// Of the absolute and the authority form.
    pub(crate) authority: Span,
    /// Path and query of the absolute form; else the whole target.
    pub(crate) rest: Span,
}

/// What is wrong with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetFault {
    /// None of the forms, or not one that the method allows.
    Form,
    /// A scheme other than http and https.
    Scheme,
    /// An authority against its grammar, or without a host.
    Authority,
    /// RFC 9110 section 4.2.4: userinfo is to be treated as an error.
    UserInfo,
}

impl TargetShape {
    /// Finds the form of a target.
    pub(crate) fn find(method: Method, target: &[u8]) -> Result<Self, TargetFault> {
        let whole = |form| Self {
            form,
            authority: Span::default(),
            rest: Span::new(0, target.len()),
        };
        match (method, target) {
            (Method::Connect, _) => {
                connect_authority(target)?;
                Ok(Self {
                    authority: Span::new(0, target.len()),
                    ..whole(Form::Authority)
                })
            }
            (_, [b'/', ..]) => Ok(whole(Form::Origin)),
            (Method::Options, b"*") => Ok(whole(Form::Asterisk)),
            _ => absolute(target),
        }
    }
}

/// RFC 9112 section 3.2.3: host and port, both there.
fn connect_authority(target: &[u8]) -> Result<(), TargetFault> {
    if target.contains(&b'@') {
        return Err(TargetFault::UserInfo);
    }
    match Authority::parse(target) {
        Some(Authority {
            host: [_, ..],
            port: Some(_),
        }) => Ok(()),
        _ => Err(TargetFault::Authority),
    }
}

/// RFC 9112 section 3.2.2, with the schemes that Weir serves.
fn absolute(target: &[u8]) -> Result<TargetShape, TargetFault> {
    let start = scheme(target)?;
    let is_end = |byte: &u8| matches!(byte, b'/' | b'?');
    let length = target[start..].iter().position(is_end);
    let end = length.map_or(target.len(), |length| start + length);
    let authority = &target[start..end];
    if authority.contains(&b'@') {
        return Err(TargetFault::UserInfo);
    }
    match Authority::parse(authority) {
        // RFC 9110 section 4.2.1: an empty host is to be rejected.
        Some(Authority { host: [_, ..], .. }) => Ok(TargetShape {
            form: Form::Absolute,
            authority: Span::new(start, end),
            rest: Span::new(end, target.len()),
        }),
        _ => Err(TargetFault::Authority),
    }
}

/// The length of a scheme with `://`.
fn scheme(target: &[u8]) -> Result<usize, TargetFault> {
    for scheme in ["http://", "https://"] {
        let start = target.get(..scheme.len());
        if start.is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes())) {
            return Ok(scheme.len());
        }
    }
    let is_other_scheme = target.windows(3).any(|window| window == b"://");
    Err(if is_other_scheme {
        TargetFault::Scheme
    } else {
        TargetFault::Form
    })
}
