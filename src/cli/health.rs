//! `weir health`: asks a running Weir whether it is well, for the `HEALTHCHECK` of a
//! container that has no curl.

use std::process::ExitCode;

use http::{StatusCode, Uri};

use super::{AdminArguments, fetch};
use crate::admin::paths;

/// `weir health`.
#[derive(Debug, clap::Args)]
pub(super) struct HealthArguments {
    #[command(flatten)]
    admin: AdminArguments,
    /// Ask whether requests are wanted, not only whether the process runs
    #[arg(long)]
    ready: bool,
    /// Ask this address instead, through a listener for example
    #[arg(long, value_name = "http://HOST:PORT/PATH", value_parser = url, conflicts_with = "ready")]
    url: Option<Url>,
}

/// The parts of an `http` URL that a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Url {
    address: String,
    path: String,
}

/// Exit code 0 when the answer is 200, 1 otherwise, with one line that says why.
pub(super) fn health(arguments: &HealthArguments) -> ExitCode {
    let (address, path) = match (&arguments.url, arguments.ready) {
        (Some(url), _) => (&url.address, url.path.as_str()),
        (None, true) => (&arguments.admin.admin, paths::READY),
        (None, false) => (&arguments.admin.admin, paths::LIVE),
    };
    match ask(address, path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            complain(&problem);
            ExitCode::FAILURE
        }
    }
}

fn ask(address: &str, path: &str) -> Result<(), String> {
    let answer = fetch::get(address, path).map_err(|error| error.to_string())?;
    if answer.status == StatusCode::OK {
        return Ok(());
    }
    let body = String::from_utf8_lossy(&answer.body);
    let line = body.lines().next().unwrap_or_default();
    let line: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
    Err(format!("{address}{path} answers {}: {line}", answer.status))
}

#[expect(clippy::print_stderr, reason = "a command talks to its terminal")]
fn complain(problem: &str) {
    eprintln!("weir health: {problem}");
}

fn url(text: &str) -> Result<Url, String> {
    let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
    if uri.scheme_str() != Some("http") {
        return Err("it must start with http://".to_owned());
    }
    let host = uri.host().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| "it names no host".to_owned())?;
    // `Uri::port_u16` takes a port that is too large for no port at all.
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let address = authority.rsplit('@').next().unwrap_or_default();
    let port = match address.strip_prefix(host) {
        None | Some("" | ":") => 80,
        Some(port) => {
            let port = port.trim_start_matches(':').parse::<u16>();
            port.map_err(|error| format!("its port: {error}"))?
        }
    };
    let path = uri.path_and_query();
    Ok(Url {
        address: format!("{host}:{port}"),
        path: path.map_or("/".to_owned(), ToString::to_string),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fetch::tests::server;

    #[test]
    fn only_200_is_well() {
        let ok = server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(ask(&ok, "/livez"), Ok(()));
        let draining =
            server(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\ndraining\n");
        let problem = ask(&draining, "/readyz").unwrap_err();
        let expected = format!("{draining}/readyz answers 503 Service Unavailable: draining");
        assert_eq!(problem, expected);
    }

    #[test]
    fn a_url_is_taken_apart() {
        let part = |text| url(text).map(|url| (url.address, url.path));
        let parts = |address: &str, path: &str| Ok((address.to_owned(), path.to_owned()));
        assert_eq!(part("http://a:81/b?c=d"), parts("a:81", "/b?c=d"));
        assert_eq!(part("http://a"), parts("a:80", "/"));
        assert_eq!(part("http://80:8080"), parts("80:8080", "/"));
        assert_eq!(part("http://[::1]:9/"), parts("[::1]:9", "/"));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for text in [
            "",
            "a:81",
            "/livez",
            "https://a/",
            "http://",
            "http://a:99999/",
        ] {
            assert!(url(text).is_err(), "{text}");
        }
    }
}
