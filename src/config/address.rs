//! Addresses as operators write them: to listen on, and to send requests to.
//!
//! Pure text: nothing is resolved here. An error carries what to write instead.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::mend::variables;
use crate::model::{Endpoint, EndpointError};

/// Why a text is not an address, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AddressError {
    pub(super) message: String,
    pub(super) help: String,
}

/// A target as written: the port may come from the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) host: Host,
    pub(super) port: Option<u16>,
}

/// The part of an address before the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Ip(IpAddr),
    /// A DNS name, lower-case.
    Name(String),
}

fn error<T>(message: String, help: impl Into<String>) -> Result<T, AddressError> {
    Err(AddressError {
        message,
        help: help.into(),
    })
}

/// Reads a Unix socket; `None` if the text does not mean one.
pub(super) fn unix(text: &str) -> Option<Result<Endpoint, AddressError>> {
    Endpoint::is_unix(text).then(|| {
        text.parse().or_else(|reason: EndpointError| {
            let message = format!("`{}` is not a Unix socket: {reason}", text.escape_default());
            error(message, variable(text).unwrap_or_else(|| unix_help(text)))
        })
    })
}

/// What to write for a Unix socket in the words of another product.
fn unix_help(text: &str) -> String {
    let path = text
        .trim_start_matches("unix")
        .trim_start_matches([':', '@', '/']);
    let is_short = path.len() < 80 && !path.is_empty() && !path.ends_with('/');
    let path = if is_short { path } else { "run/app.sock" };
    format!("write \"unix:/{}\"", path.escape_default())
}

/// Whether a text is a Unix socket as other products write it.
fn is_unix_of_others(text: &str) -> bool {
    let starts = ["/", "unix@", "unix/"];
    starts.iter().any(|start| text.starts_with(start))
}

/// Reads an address to listen on: an IP address and a port. Unix sockets are for [`unix`].
pub(super) fn bind(text: &str) -> Result<SocketAddr, AddressError> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let message = format!("`{text}` is not an address to listen on");
    if is_unix_of_others(text) {
        return error(message, unix_help(text));
    }
    if let Some(help) = several(text).or_else(|| variable(text)) {
        let one = "a listener has one address: write a [[listener]] for each of them".to_owned();
        let help = if help.starts_with("write a list") {
            one
        } else {
            help
        };
        return error(message, help);
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let address = rest.split('/').next().unwrap_or_default();
        let help = match (scheme, address.contains(':')) {
            ("http", true) => format!("leave out the scheme: \"{address}\""),
            ("http", false) => format!("leave out the scheme, and name the port: \"{address}:80\""),
            _ => "Weir does not speak TLS yet; it listens for plain HTTP: \"0.0.0.0:8080\""
                .to_owned(),
        };
        return error(message, help);
    }
    let port = text.rsplit(':').next().unwrap_or_default();
    let port = port.parse::<u16>().ok();
    let help = match (text.rsplit_once(':'), port) {
        (Some(("" | "*", _)) | None, Some(port)) => {
            format!("write \"0.0.0.0:{port}\" for all IPv4 addresses, \"[::]:{port}\" for IPv6")
        }
        (Some(("localhost", _)), Some(port)) => format!("write \"127.0.0.1:{port}\""),
        (Some((host, _)), Some(port)) if check_name(host).is_ok() => format!(
            "it is an address of this machine: \"0.0.0.0:{port}\" is all of them; a host name of requests is a \
             condition of a rule: when = {{ host = \"{host}\" }}"
        ),
        _ if text.parse::<Ipv6Addr>().is_ok() => format!("add a port: \"[{text}]:8080\""),
        _ if text.parse::<IpAddr>().is_ok() => format!("add a port: \"{text}:8080\""),
        _ => "write an IP address and a port: \"0.0.0.0:8080\" or \"[::1]:8080\"".to_owned(),
    };
    error(message, help)
}

/// Reads a target: an IP address or a host name, with or without a port.
pub(super) fn target(text: &str) -> Result<Written, AddressError> {
    const EXAMPLE: &str = "write \"10.0.0.1:6400\", \"[fd00::1]:6400\" or \"todo.internal:6400\"";
    let not_a_target = format!("`{text}` is not the address of a target");
    if text.is_empty() {
        return error(
            "an address of a target is empty: is there a comma too many?".to_owned(),
            EXAMPLE,
        );
    }
    if let Some(help) = several(text).or_else(|| variable(text)) {
        return error(not_a_target, help);
    }
    if is_unix_of_others(text) {
        return error(not_a_target, unix_help(text));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let host = rest.split('/').next().unwrap_or_default();
        let help = match scheme {
            "http" if !host.is_empty() => format!("leave out scheme and path: \"{host}\""),
            _ => "Weir speaks HTTP/1.1 without TLS to its targets; write the address alone".into(),
        };
        return error(not_a_target, help);
    }
    if let Some((host, _)) = text.split_once('/') {
        return error(not_a_target, format!("leave out the path: \"{host}\""));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Written {
            host: Host::Ip(usable(ip)?),
            port: None,
        });
    }
    if text.starts_with('[') {
        return bracketed(text).unwrap_or_else(|| error(not_a_target, EXAMPLE));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => {
            return error(
                not_a_target,
                "an IPv6 address with a port needs brackets: \"[fd00::1]:6400\"",
            );
        }
        Some((host, port)) => (host, Some(read_port(port)?)),
        None => (text, None),
    };
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(Written {
            host: Host::Ip(usable(ip)?),
            port,
        });
    }
    if let Err(reason) = check_name(host) {
        return error(format!("{not_a_target}: {reason}"), EXAMPLE);
    }
    Ok(Written {
        host: Host::Name(host.to_ascii_lowercase()),
        port,
    })
}

/// What to write for several addresses in one string, or for one with what another product writes
/// behind it.
fn several(text: &str) -> Option<String> {
    let split = |c: char| c.is_whitespace() || matches!(c, ';' | '|' | ',');
    let mut words = text
        .split(split)
        .filter(|word| !word.is_empty() && *word != "server");
    let (first, rest) = (words.next()?, words.collect::<Vec<_>>());
    let (option, more) = (rest.first()?, &rest[1..]);
    if let Some(weight) = option.strip_prefix("weight=").filter(|_| more.is_empty()) {
        return Some(format!(
            "write {{ address = \"{first}\", weight = {weight} }}"
        ));
    }
    let is_address = |word: &&str| word.contains(['.', ':']) && !word.contains('=');
    if rest.iter().all(is_address) {
        let list: Vec<_> = std::iter::once(first).chain(rest).collect();
        return Some(format!("write a list: [\"{}\"]", list.join("\", \"")));
    }
    if !first.contains(['.', ':']) {
        return None;
    }
    let options = rest.join(" ");
    Some(format!(
        "write the address alone, without `{options}`: \"{first}\""
    ))
}

/// What to write for a variable of a shell, `$PORT`.
fn variable(text: &str) -> Option<String> {
    let written = variables(text);
    (written != text).then(|| format!("variables are written in braces: \"{written}\""))
}

/// Reads the name of DNS service records (RFC 2782): a name alone, lower-case.
pub(super) fn service(text: &str) -> Result<String, AddressError> {
    const EXAMPLE: &str = "write a name that has SRV records: \"_http._tcp.todo.internal\"";
    let message = format!("`{text}` is not the name of a service");
    if text.parse::<SocketAddr>().is_ok() || text.parse::<IpAddr>().is_ok() {
        return error(
            message,
            "write an address without a table: \"10.0.0.1:6400\"",
        );
    }
    if let Some((name, port)) = text.rsplit_once(':')
        && port.parse::<u16>().is_ok()
    {
        let help = format!("the port is in the records: \"{name}\"");
        return error(message, help);
    }
    match check_name(text) {
        Ok(()) => Ok(text.to_ascii_lowercase()),
        Err(reason) => error(format!("{message}: {reason}"), EXAMPLE),
    }
}

/// `[fd00::1]` and `[fd00::1]:6400`; `None` if it is neither.
fn bracketed(text: &str) -> Option<Result<Written, AddressError>> {
    let (ip, port) = text.strip_prefix('[')?.split_once(']')?;
    let ip: Ipv6Addr = ip.parse().ok()?;
    let port = match port {
        "" => None,
        port => match read_port(port.strip_prefix(':')?) {
            Ok(port) => Some(port),
            Err(error) => return Some(Err(error)),
        },
    };
    Some(usable(IpAddr::V6(ip)).map(|ip| Written {
        host: Host::Ip(ip),
        port,
    }))
}

fn read_port(text: &str) -> Result<u16, AddressError> {
    let port = text.parse::<u16>().ok().filter(|port| *port > 0);
    port.map_or_else(
        || error(format!("`{text}` is not a port"), "ports are 1 to 65535"),
        Ok,
    )
}

/// An address that can be connected to.
fn usable(ip: IpAddr) -> Result<IpAddr, AddressError> {
    if ip.is_unspecified() {
        return error(
            format!("`{ip}` is an address to listen on, not one to connect to"),
            "for a service on this machine write \"127.0.0.1\"",
        );
    }
    if ip.is_multicast() {
        return error(format!("`{ip}` is a multicast address"), "");
    }
    Ok(ip)
}

/// RFC 1123 names, plus the underscore that container networks allow.
fn check_name(name: &str) -> Result<(), &'static str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let labels: Vec<_> = name.split('.').collect();
    if name.len() > 253 {
        return Err("a host name has at most 253 characters");
    }
    if labels
        .iter()
        .any(|label| label.is_empty() || label.len() > 63)
    {
        return Err("a part between dots is empty or longer than 63 characters");
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.chars().all(|c| legal(c) || c == '.') {
        return Err("a host name is made of letters, digits, `-` and `.`");
    }
    if labels
        .iter()
        .any(|label| label.starts_with('-') || label.ends_with('-'))
    {
        return Err("a part between dots starts or ends with `-`");
    }
    // A name that ends in a number is a mistyped address (WHATWG URL, "ends in a number").
    let last = labels.last().copied().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("neither an IPv4 address nor a host name");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn targets_are_addresses_or_names_with_or_without_a_port() {
        let ip = |text: &str| Host::Ip(text.parse().unwrap());
        let name = |text: &str| Host::Name(text.to_owned());
        let cases = [
            ("10.0.0.1", ip("10.0.0.1"), None),
            ("10.0.0.1:6400", ip("10.0.0.1"), Some(6400)),
            ("fd00::1", ip("fd00::1"), None),
            ("[fd00::1]", ip("fd00::1"), None),
            ("[fd00::1]:6400", ip("fd00::1"), Some(6400)),
            ("Todo.internal:80", name("todo.internal"), Some(80)),
            ("tasks.todo_api", name("tasks.todo_api"), None),
            ("localhost", name("localhost"), None),
        ];
        for (text, host, port) in cases {
            assert_eq!(target(text), Ok(Written { host, port }), "{text}");
        }
    }

    #[test]
    fn what_is_no_target_is_refused() {
        let texts = [
            "",
            ":80",
            "a b",
            "http://a:80",
            "a:80/x",
            "10.0.0.256",
            "1.2.3",
            "a:0",
            "a:65536",
            "fd00::1:6400:x",
            "[fd00::1",
            "[fd00::1]6400",
            "0.0.0.0:80",
            "a..b",
            "-a",
            "a:",
            "1",
        ];
        for text in texts {
            assert!(target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn unix_sockets_are_absolute_paths_after_one_word() {
        let read = |text| unix(text).map(|read| read.map(|endpoint| endpoint.to_string()));
        let text = "unix:/run/app.sock";
        assert_eq!(read(text), Some(Ok(text.to_owned())));
        assert_eq!(read("10.0.0.1:80"), None);
        let help = "write \"unix:/run/app.sock\"";
        for slip in [
            "unix:run/app.sock",
            "unix:///run/app.sock",
            "unix:",
            "unix:/run/",
        ] {
            assert_eq!(unix(slip).unwrap().unwrap_err().help, help, "{slip}");
        }
        for slip in ["/run/app.sock", "unix@/run/app.sock", "unix//run/app.sock"] {
            assert_eq!(target(slip).unwrap_err().help, help, "{slip}");
            assert_eq!(bind(slip).unwrap_err().help, help, "{slip}");
        }
        let variable = unix("unix:$DIR/app.sock").unwrap().unwrap_err();
        assert!(variable.help.contains("${DIR}"), "{}", variable.help);
    }

    #[test]
    fn a_service_is_a_name_without_a_port() {
        let name = "_http._tcp.todo.internal";
        assert_eq!(service("_HTTP._tcp.todo.internal").as_deref(), Ok(name));
        assert_eq!(
            service("todo.service.consul").as_deref(),
            Ok("todo.service.consul")
        );
        for text in [
            "",
            "10.0.0.1",
            "[fd00::1]:80",
            "_http._tcp.todo:80",
            "_http/_tcp",
            "a..b",
        ] {
            assert!(service(text).is_err(), "{text}");
        }
    }

    #[test]
    fn common_slips_of_a_bind_address_are_explained() {
        for text in [":8080", "8080", "*:8080"] {
            assert!(
                bind(text).unwrap_err().help.contains("\"0.0.0.0:8080\""),
                "{text}"
            );
        }
        let local = bind("localhost:80").unwrap_err();
        assert_eq!(local.help, "write \"127.0.0.1:80\"");
        assert!(bind("[::1]:80").is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = (bind(&text), target(&text), service(&text), unix(&text));
        }
    }
}
