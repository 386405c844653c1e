//! Texts with placeholders: values that are known when a request has come.

/// A part of a request or of its way that `#{name}` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// `http` or `https`: what the client came by.
    Protocol,
    /// The host that the client asked for, in lower case, without the port.
    Host,
    /// The port that the client came by.
    Port,
    /// The path that the client asked for, without its first slash, as ALB does.
    Path,
    /// The query that the client sent, without the question mark.
    Query,
    /// The address of the client, as trusted proxies report it.
    ClientIp,
    /// The id of the request: that of `X-Request-Id`.
    RequestId,
    /// The address of the target that the request is sent to. Another attempt may have another
    /// one.
    Target,
}

impl Placeholder {
    /// Every one of them.
    pub const ALL: [Self; 8] = [
        Self::Protocol,
        Self::Host,
        Self::Port,
        Self::Path,
        Self::Query,
        Self::ClientIp,
        Self::RequestId,
        Self::Target,
    ];

    /// What stands between `#{` and `}`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::Host => "host",
            Self::Port => "port",
            Self::Path => "path",
            Self::Query => "query",
            Self::ClientIp => "client_ip",
            Self::RequestId => "request_id",
            Self::Target => "target",
        }
    }
}

/// A text with placeholders. What is literal in it is visible ASCII and, inside, spaces and tabs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Box<[TemplatePart]>);

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// Copied as it is.
    Literal(String),
    /// Filled in.
    Placeholder(Placeholder),
}

impl Template {
    /// These parts, one after the other.
    pub fn new(parts: Vec<TemplatePart>) -> Self {
        Self(parts.into())
    }

    /// Its parts.
    pub fn parts(&self) -> &[TemplatePart] {
        &self.0
    }

    /// The text, if nothing is filled in.
    pub fn literal(&self) -> Option<&str> {
        match &*self.0 {
            [] => Some(""),
            [TemplatePart::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether the placeholder is in it.
    pub fn has(&self, placeholder: Placeholder) -> bool {
        self.0.contains(&TemplatePart::Placeholder(placeholder))
    }

    /// Appends the text; `fill` appends the value of a placeholder.
    pub fn render(&self, text: &mut String, mut fill: impl FnMut(Placeholder, &mut String)) {
        for part in &self.0 {
            match part {
                TemplatePart::Literal(literal) => text.push_str(literal),
                TemplatePart::Placeholder(placeholder) => fill(*placeholder, text),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in_where_they_stand() {
        let literal = |text: &str| TemplatePart::Literal(text.to_owned());
        let template = Template::new(vec![
            literal("for="),
            TemplatePart::Placeholder(Placeholder::ClientIp),
            literal(";by="),
            TemplatePart::Placeholder(Placeholder::Target),
        ]);
        let mut text = "a,".to_owned();
        template.render(&mut text, |placeholder, text| {
            text.push_str(placeholder.name());
        });
        assert_eq!(text, "a,for=client_ip;by=target");
        assert!(template.has(Placeholder::Target) && !template.has(Placeholder::Host));
        assert_eq!(template.literal(), None);
        assert_eq!(Template::new(vec![literal("a")]).literal(), Some("a"));
        assert_eq!(Template::new(Vec::new()).literal(), Some(""));
    }

    #[test]
    fn every_placeholder_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Placeholder::ALL.map(Placeholder::name).into();
        assert_eq!(names.len(), Placeholder::ALL.len());
    }
}
