//! `weir health`: asks a running Weir whether it is well, for the `HEALTHCHECK` of a
//! container that has no curl.

use std::process::ExitCode;

use http::StatusCode;

use super::{AdminArguments, fetch};
use crate::admin::paths;
use crate::net::fetch::Url;

/// `weir health`.
#[derive(Debug, clap::Args)]
pub(super) struct HealthArguments {
    #[command(flatten)]
    admin: AdminArguments,
    /// Ask whether requests are wanted, not only whether the process runs
    #[arg(long)]
    ready: bool,
    /// Ask this address instead, through a listener for example
    #[arg(long, value_name = "http://HOST:PORT/PATH", conflicts_with = "ready")]
    url: Option<Url>,
}

/// Exit code 0 when the answer is 200, 1 otherwise, with one line that says why.
pub(super) fn health(arguments: &HealthArguments) -> ExitCode {
    let admin = &arguments.admin.admin;
    let result = match &arguments.url {
        Some(url) => ask(&url.endpoint.to_string(), &url.path),
        None if arguments.ready => ask(admin, paths::READY),
        None => ask(admin, paths::LIVE),
    };
    match result {
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
}
