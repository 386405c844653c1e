//! An `http` URL, taken apart into what a request needs.

use http::uri::{InvalidUri, Scheme};
use http::{HeaderValue, Uri};

use super::destination::Destination;

/// Where an `http://` URL leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Host and port; the port is 80 unless the URL says otherwise.
    pub destination: Destination,
    /// For the `Host` field: as the URL has it, without user information.
    pub host: HeaderValue,
    /// Path and query; `/` when the URL has none.
    pub path: String,
}

/// Why a text is not such a URL.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// Not a URI by RFC 3986.
    #[error("not a URL: {0}")]
    Syntax(#[from] InvalidUri),
    /// Another scheme, or none.
    #[error("it must start with http://")]
    Scheme,
    /// No host.
    #[error("it names no host")]
    Host,
    /// The port is not a number up to 65535.
    #[error("its port: {0}")]
    Port(std::num::ParseIntError),
}

impl std::str::FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse()?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(UrlError::Scheme);
        }
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or(UrlError::Host)?;
        // Not `Uri::port_u16`, which is `None` for a port that is too large.
        let authority = uri
            .authority()
            .and_then(|authority| authority.as_str().rsplit('@').next())
            .unwrap_or_default()
            .trim_end_matches(':');
        let port = match authority.strip_prefix(host) {
            None | Some("") => 80,
            Some(port) => port
                .trim_start_matches(':')
                .parse::<u16>()
                .map_err(UrlError::Port)?,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            destination: Destination::Name(format!("{host}:{port}")),
            host: HeaderValue::from_str(authority).map_err(|_| UrlError::Host)?,
            path: path.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let cases = [
            ("http://a:81/b?c=d", "a:81", "a:81", "/b?c=d"),
            ("http://a", "a:80", "a", "/"),
            ("http://80:8080", "80:8080", "80:8080", "/"),
            ("http://[::1]:9/", "[::1]:9", "[::1]:9", "/"),
            ("http://[::1]/x", "[::1]:80", "[::1]", "/x"),
            ("http://user@a:81/", "a:81", "a:81", "/"),
        ];
        for (text, destination, host, path) in cases {
            let url: Url = text.parse().unwrap();
            assert_eq!(
                url.destination,
                Destination::Name(destination.to_owned()),
                "{text}"
            );
            assert_eq!(url.host, host, "{text}");
            assert_eq!(url.path, path, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "a:81",
            "/livez",
            "10.0.0.1:80",
            "https://10.0.0.1/",
            "http://",
            "http://a:99999/",
        ] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }
}
