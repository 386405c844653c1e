//! What is asked: a request in the words of the command line and of the API.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::message::{Invalid, RequestHead};
use crate::model::{ClientAddress, Peer};

/// A request that is asked about, and where it comes from. It is not sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Its method.
    #[serde(default = "get")]
    pub method: String,
    /// Its URL, `https://host/path`, or a path alone.
    pub url: String,
    /// Its header fields, `name: value` each.
    #[serde(default)]
    pub headers: Vec<String>,
    /// The address of the client, or `unix:`; `127.0.0.1` if it is left out.
    #[serde(default)]
    pub from: Option<String>,
    /// The listener that gets it; otherwise that of the URL's port.
    #[serde(default)]
    pub listener: Option<String>,
}

fn get() -> String {
    "GET".to_owned()
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// No method and URL.
    #[error("`{0}` is no request: write a method and a URL, 'GET https://host/path'")]
    Request(String),
    /// A method that HTTP does not allow.
    #[error("`{0}` is no method")]
    Method(String),
    /// A path or query with bytes that no request may have.
    #[error("`{0}` cannot be asked for: encode what is no part of a URL (a space is %20)")]
    Target(String),
    /// A host that is none.
    #[error("`{0}` is no host")]
    Host(String),
    /// A header field that is none.
    #[error("`{0}` is no header field: write 'name: value'")]
    Field(String),
    /// An address that is none.
    #[error("`{0}` is no address of a client: write an IP address, or `unix:`")]
    Client(String),
    /// A listener that the configuration does not have.
    #[error("there is no listener `{name}`: there are {known}")]
    NoListener {
        /// Its name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The URL does not say which listener is meant.
    #[error("several listeners may get this request: name one of {0}")]
    Ambiguous(String),
    /// The configuration has none.
    #[error("there is no listener")]
    None,
}

/// A question in parts.
#[derive(Debug)]
pub(super) struct Asked {
    /// `None` if the URL names no host.
    pub(super) url: Option<Origin>,
    pub(super) peer: Peer,
    pub(super) head: RequestHead,
}

/// What a URL says about the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) is_secure: bool,
    pub(super) port: u16,
}

impl Question {
    /// A question about a line of a method and a URL, `GET https://host/path`; the method may be
    /// left out.
    pub fn about(line: &str) -> Result<Self, QuestionError> {
        let mut parts = line.split_ascii_whitespace();
        let (method, url) = match (parts.next(), parts.next(), parts.next()) {
            (Some(url), None, _) => (get(), url),
            (Some(method), Some(url), None) => (method.to_owned(), url),
            _ => return Err(QuestionError::Request(line.to_owned())),
        };
        Ok(Self {
            method,
            url: url.to_owned(),
            headers: Vec::new(),
            from: None,
            listener: None,
        })
    }

    /// Reads the question.
    pub(super) fn parse(&self) -> Result<Asked, QuestionError> {
        let (method, url) = (&*self.method, &*self.url);
        let unreadable = || QuestionError::Request(format!("{method} {url}"));
        let (is_secure, authority, target) = split(url).ok_or_else(unreadable)?;
        let mut head = RequestHead::new();
        let bad_method = |_: Invalid| QuestionError::Method(method.to_owned());
        head.set_method(method.as_bytes()).map_err(bad_method)?;
        let target = if target.starts_with(['/', '*']) {
            target.to_owned()
        } else {
            format!("/{target}")
        };
        let bad_target = |_: Invalid| QuestionError::Target(target.clone());
        head.set_target(target.as_bytes()).map_err(bad_target)?;
        let bad_host = |_: Invalid| QuestionError::Host(authority.unwrap_or_default().to_owned());
        let url = authority.map(|host| {
            head.set_host(host.as_bytes()).map_err(bad_host)?;
            let port = port(host).unwrap_or(if is_secure { 443 } else { 80 });
            Ok(Origin { is_secure, port })
        });
        let url = url.transpose()?;
        self.headers
            .iter()
            .try_for_each(|field| add(field, &mut head))?;
        Ok(Asked {
            url,
            peer: peer(self.from.as_deref())?,
            head,
        })
    }
}

/// Whether a URL is one of TLS, its authority, and its path and query. A path alone has no authority.
fn split(url: &str) -> Option<(bool, Option<&str>, &str)> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return (url.starts_with('/') || url == "*").then_some((false, None, url));
    };
    let is_secure = match scheme.to_ascii_lowercase().as_str() {
        "http" | "tcp" | "ws" => false,
        "https" | "tls" | "wss" => true,
        _ => return None,
    };
    let rest = rest.split('#').next().unwrap_or(rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    Some((is_secure, Some(&rest[..end]), &rest[end..]))
}

/// The port of an authority that names one.
fn port(authority: &str) -> Option<u16> {
    let (_, port) = authority.rsplit_once(':')?;
    port.parse().ok()
}

/// `Host` replaces that of the URL: a request has one.
fn add(field: &str, head: &mut RequestHead) -> Result<(), QuestionError> {
    let bad = |_: Invalid| QuestionError::Field(field.to_owned());
    let (name, value) = field.split_once(':').ok_or(Invalid).map_err(bad)?;
    let value = value.trim().as_bytes();
    if name.eq_ignore_ascii_case("host") {
        return head.set_host(value).map_err(bad);
    }
    head.fields.append(name, value).map_err(bad)
}

/// A port makes a peer of an address; nothing looks at it.
const PORT: u16 = 50_000;

pub(super) fn peer(from: Option<&str>) -> Result<Peer, QuestionError> {
    match from.unwrap_or("127.0.0.1") {
        ClientAddress::UNIX | "unix" => Ok(Peer::Unix),
        text => {
            let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
            let address = address.or_else(|_| text.parse::<SocketAddr>());
            address
                .map(Peer::Address)
                .map_err(|_| QuestionError::Client(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(request: &str, headers: &[&str]) -> Result<Asked, QuestionError> {
        let headers = headers.iter().map(|field| (*field).to_owned()).collect();
        Question {
            headers,
            ..Question::about(request)?
        }
        .parse()
    }

    #[test]
    fn a_request_is_a_method_and_a_url() {
        let cases = [
            (
                "GET https://a.example/b?c=d#e",
                "GET /b?c=d",
                Some((true, 443)),
            ),
            ("http://a.example:8080", "GET /", Some((false, 8080))),
            ("POST http://[::1]:81/?x", "POST /?x", Some((false, 81))),
            ("https://a.example?x", "GET /?x", Some((true, 443))),
            ("HEAD /b", "HEAD /b", None),
            ("OPTIONS *", "OPTIONS *", None),
        ];
        for (text, line, url) in cases {
            let asked = asked(text, &[]).unwrap();
            let text = |part: &[u8]| String::from_utf8(part.to_vec()).unwrap();
            let found = format!(
                "{} {}",
                text(asked.head.method_name()),
                text(asked.head.target())
            );
            assert_eq!(found, line);
            let found = asked.url.map(|origin| (origin.is_secure, origin.port));
            assert_eq!(found, url, "{line}");
        }
    }

    #[test]
    fn what_is_no_request_is_told() {
        for (text, headers, said) in [
            ("", &[][..], "no request"),
            ("GET a.example", &[], "no request"),
            ("GET ftp://a/", &[], "no request"),
            ("GET http://a/ HTTP/1.1", &[], "no request"),
            ("G(T http://a/", &[], "no method"),
            ("GET http://a/\u{7f}", &[], "cannot be asked for"),
            ("GET http://a@b/", &[], "no host"),
            ("http://a/", &["nonsense"], "no header field"),
            ("http://a/", &["a b: c"], "no header field"),
        ] {
            let error = asked(text, headers).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn the_field_of_the_host_wins_over_the_url() {
        let asked = asked("http://a.example/", &["Host: b.example", "x-y:z"]).unwrap();
        assert_eq!(
            asked.head.fields.get_by_name("host"),
            Some(&b"b.example"[..])
        );
        assert_eq!(asked.head.fields.get_by_name("X-Y"), Some(&b"z"[..]));
    }

    #[test]
    fn a_client_has_an_address_or_comes_over_a_unix_socket() {
        let said = |from| peer(Some(from)).map(|peer| peer.client().to_string());
        assert_eq!(said("10.0.0.9").unwrap(), "10.0.0.9");
        assert_eq!(said("::1").unwrap(), "::1");
        assert_eq!(said("10.0.0.9:80").unwrap(), "10.0.0.9");
        assert_eq!(said("unix:").unwrap(), "unix:");
        assert!(said("localhost").is_err());
        assert_eq!(peer(None).unwrap().client().to_string(), "127.0.0.1");
    }
}
