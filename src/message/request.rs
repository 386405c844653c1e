//! The head of a request.

use super::chars::{HEX, LOOSE, TARGET, TOKEN, is_in, prefix};
use super::{Authority, FieldName, Fields, Form, Invalid, Method, Span, TargetShape, Version};

/// Method, target, version and fields of a request.
///
/// One buffer holds its text. [`RequestHead::clear`] keeps the memory, so that a connection
/// allocates nothing for its second request.
#[derive(Clone)]
pub struct RequestHead {
    /// The fields. Host is there exactly once, unless an HTTP/1.0 request came without.
    pub fields: Fields,
    method: Method,
    method_name: Span,
    target: Span,
    form: Form,
    version: Version,
}

impl Default for RequestHead {
    /// `GET /` without fields.
    fn default() -> Self {
        let mut fields = Fields::new();
        Self {
            method_name: fields.add_text(b"GET"),
            target: fields.add_text(b"/"),
            fields,
            method: Method::Get,
            form: Form::Origin,
            version: Version::Http11,
        }
    }
}

impl RequestHead {
    /// `GET /` without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Becomes `GET /` without fields, and keeps the memory.
    pub fn clear(&mut self) {
        self.reset();
        self.method_name = self.fields.add_text(b"GET");
        self.target = self.fields.add_text(b"/");
    }

    /// Gives back memory beyond `max_text` bytes of text.
    pub fn shrink(&mut self, max_text: usize) {
        self.fields.shrink(max_text);
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The method's name, a token.
    pub fn method_name(&self) -> &[u8] {
        self.method_name.of(self.fields.text())
    }

    /// The target as it is to be sent: of an absolute URI, its path and query.
    pub fn target(&self) -> &[u8] {
        self.target.of(self.fields.text())
    }

    /// The form in which the target came.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The version with which it came.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The target up to its query: a path that begins with a slash, `*`, or the authority of
    /// CONNECT.
    pub fn path(&self) -> &[u8] {
        let target = self.target();
        &target[..query_at(target).unwrap_or(target.len())]
    }

    /// What follows the first question mark of the target.
    pub fn query(&self) -> Option<&[u8]> {
        let target = self.target();
        Some(&target[query_at(target)? + 1..])
    }

    /// Host and port that are asked for: the authority of CONNECT, else the Host field (which an
    /// absolute URI has replaced). `None` for an HTTP/1.0 request without Host.
    pub fn authority(&self) -> Option<Authority<'_>> {
        let text = match self.form {
            Form::Authority => self.target(),
            Form::Origin | Form::Absolute | Form::Asterisk => self.fields.get(FieldName::Host)?,
        };
        Authority::parse(text)
    }

    /// Replaces the method. A target that the new method does not allow is to be replaced as well.
    pub fn set_method(&mut self, name: &[u8]) -> Result<(), Invalid> {
        if name.is_empty() || prefix(name, TOKEN) < name.len() {
            return Err(Invalid);
        }
        self.method = Method::from_bytes(name);
        self.method_name = self.fields.add_text(name);
        Ok(())
    }

    /// Replaces the target: a path and perhaps a query, `*` for OPTIONS, an authority for CONNECT.
    /// Bytes are those of RFC 3986 and what browsers send beside them.
    pub fn set_target(&mut self, target: &[u8]) -> Result<(), Invalid> {
        let has_bytes = target.iter().all(|byte| is_target_byte(*byte));
        let shape = TargetShape::find(self.method, target).map_err(|_| Invalid)?;
        if !has_bytes || shape.form == Form::Absolute {
            return Err(Invalid);
        }
        self.target = self.fields.add_text(target);
        self.form = shape.form;
        Ok(())
    }

    /// Replaces the Host field.
    pub fn set_host(&mut self, host: &[u8]) -> Result<(), Invalid> {
        Authority::parse(host).ok_or(Invalid)?;
        self.fields.set(FieldName::Host, host)
    }

    /// Replaces the version, which decides what the client may be sent.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }
}

/// For the codec. None of these checks what it is given.
impl RequestHead {
    /// Removes everything, the request line as well: the text becomes that of the next head.
    pub(crate) fn reset(&mut self) {
        self.fields.clear();
        self.method = Method::Get;
        self.form = Form::Origin;
        self.version = Version::Http11;
        (self.method_name, self.target) = (Span::default(), Span::default());
    }

    /// Takes a request line whose parts are in the text, or will be when it is read.
    pub(crate) fn set_line(
        &mut self,
        method: Method,
        method_name: Span,
        target: Span,
        form: Form,
        version: Version,
    ) {
        self.method = method;
        self.method_name = method_name;
        self.target = target;
        self.form = form;
        self.version = version;
    }

    /// Replaces the target and keeps the form in which it came.
    pub(crate) fn move_target(&mut self, target: &[u8]) {
        self.target = self.fields.add_text(target);
    }
}

fn query_at(target: &[u8]) -> Option<usize> {
    memchr::memchr(b'?', target)
}

fn is_target_byte(byte: u8) -> bool {
    byte == b'%' || is_in(byte, TARGET | LOOSE | HEX)
}
