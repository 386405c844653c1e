//! `weir health`: checks that a running Weir is alive or ready, for the `HEALTHCHECK` of a
//! container without curl.

use std::process::ExitCode;

use http::StatusCode;

use super::admin::AdminArguments;
use super::fetch;
use crate::admin::paths;
use crate::net::fetch::Url;

/// `weir health`.
#[derive(Debug, clap::Args)]
pub(super) struct HealthArguments {
    #[command(flatten)]
    admin: AdminArguments,
    /// Check that requests are accepted, not only that the process runs
    #[arg(long)]
    ready: bool,
    /// Request this URL instead, through a listener for example
    #[arg(long, value_name = "http://HOST:PORT/PATH", conflicts_with = "ready")]
    url: Option<Url>,
}

/// Exit code 0 if the response has status 200; else 1, and the reason in one line.
pub(super) fn health(arguments: &HealthArguments) -> ExitCode {
    let admin = &arguments.admin.admin;
    let result = match &arguments.url {
        Some(url) => ask(&url.destination.to_string(), &url.path),
        None if arguments.ready => ask(admin, paths::READY),
        None => ask(admin, paths::LIVE),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            print_problem(&problem);
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
fn print_problem(problem: &str) {
    eprintln!("weir health: {problem}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::server;

    #[test]
    fn only_200_is_healthy() {
        let ok = server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(ask(&ok, "/livez"), Ok(()));
        let draining =
            server(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\ndraining\n");
        let problem = ask(&draining, "/readyz").unwrap_err();
        let expected = format!("{draining}/readyz answers 503 Service Unavailable: draining");
        assert_eq!(problem, expected);
    }
}
