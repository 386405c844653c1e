//! `Debug` of heads and fields. Of credentials and cookies only the length is shown.

use std::fmt;

use super::{Field, FieldName, Fields, NameSet, RequestHead, ResponseHead};

/// Fields whose values are secrets.
const SECRET: NameSet = NameSet::of(&[
    FieldName::Authorization,
    FieldName::ProxyAuthorization,
    FieldName::Cookie,
    FieldName::SetCookie,
]);

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(shown)).finish()
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method_name().escape_ascii().to_string())
            .field("target", &self.target().escape_ascii().to_string())
            .field("form", &self.form())
            .field("version", &self.version())
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ResponseHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead")
            .field("status", &self.status())
            .field("reason", &self.reason().escape_ascii().to_string())
            .field("version", &self.version())
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

fn shown(field: Field<'_>) -> (String, String) {
    let value = if SECRET.contains(field.id) {
        format!("({} bytes)", field.value.len())
    } else {
        field.value.escape_ascii().to_string()
    };
    (field.name.escape_ascii().to_string(), value)
}
