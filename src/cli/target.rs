//! `weir target`: changes the targets of a running Weir.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use clap::Subcommand;
use http::header::AUTHORIZATION;
use http::{Method, Request, StatusCode};

use super::admin::AdminArguments;
use super::fetch;
use super::table::printable;
use crate::admin::{TargetChanged, paths};
use crate::files::read_from;

/// The variable that may hold the token instead of a file.
const TOKEN: &str = "WEIR_ADMIN_TOKEN";

/// `weir target`.
#[derive(Debug, clap::Args)]
pub(super) struct TargetArguments {
    #[command(subcommand)]
    change: Change,
    #[command(flatten)]
    admin: AdminArguments,
    /// A file that holds the admin listener's token; default: what `WEIR_ADMIN_TOKEN` holds
    // No option takes the token itself: every user of the machine could read it.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Change {
    /// Put a target into its group, or back into service
    Register {
        #[command(flatten)]
        target: Target,
        /// Its share of the requests, 0 to 999; default: what the configuration says, or 1
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=999))]
        weight: Option<u16>,
    },
    /// Drain a target and remove it from its group
    Deregister {
        #[command(flatten)]
        target: Target,
    },
    /// Send a target no new requests until it is registered again
    Drain {
        #[command(flatten)]
        target: Target,
    },
    /// Change a target's share of the requests
    Weight {
        #[command(flatten)]
        target: Target,
        /// 0 to 999; 0 gets no new requests
        #[arg(value_name = "N", value_parser = clap::value_parser!(u16).range(0..=999))]
        weight: u16,
    },
}

#[derive(Debug, clap::Args)]
struct Target {
    /// The name of the target group
    group: String,
    /// The target's address: 10.0.0.1:6400, or without the group's own port
    address: String,
}

/// Why no target was changed.
#[derive(Debug, PartialEq, Eq)]
enum Problem {
    /// There is no token, or no response: exit code 2.
    NotSent(String),
    /// Weir refused the change: exit code 1.
    Refused(String),
}

/// Changes a target and prints the result in one line: exit code 0 on success, 1 if Weir refuses, 2
/// if it does not respond or there is no token.
pub(super) fn target(arguments: &TargetArguments) -> ExitCode {
    let (code, problem) = match change(arguments) {
        Ok(line) => {
            // A closed output does not undo the change.
            let _ = writeln!(io::stdout(), "{line}");
            return ExitCode::SUCCESS;
        }
        Err(Problem::Refused(problem)) => (1, problem),
        Err(Problem::NotSent(problem)) => (2, problem),
    };
    print_problem(&problem);
    ExitCode::from(code)
}

#[expect(clippy::print_stderr, reason = "a command talks to its terminal")]
fn print_problem(problem: &str) {
    eprintln!("weir target: {problem}");
}

fn change(arguments: &TargetArguments) -> Result<String, Problem> {
    let token = token(arguments.token_file.as_deref()).map_err(Problem::NotSent)?;
    let request = arguments.change.request(&token)?;
    let admin = &arguments.admin.admin;
    let answer = fetch::send(admin, request);
    let answer = answer.map_err(|error| Problem::NotSent(error.explained()))?;
    if answer.status == StatusCode::OK {
        let changed = serde_json::from_slice::<TargetChanged>(&answer.body);
        if let Ok(changed) = changed {
            return Ok(printable(&changed.message));
        }
    }
    let told = serde_json::from_slice::<crate::admin::Problem>(&answer.body);
    Err(Problem::Refused(match told {
        Ok(problem) => printable(&problem.detail),
        Err(_) => format!("{admin} answers {}, which no Weir does", answer.status),
    }))
}

/// Longest file of a token, bytes.
const MAX_TOKEN_FILE: u64 = 4 * 1024;

fn token(file: Option<&Path>) -> Result<String, String> {
    let text = match file {
        // The file may be a pipe: that of a shell's `<(...)`.
        Some(file) => File::open(file)
            .and_then(|file| read_from(file, MAX_TOKEN_FILE))
            .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other))
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?,
        None => std::env::var(TOKEN).map_err(|_| {
            format!("the admin listener's token is needed: --token-file FILE, or {TOKEN}")
        })?,
    };
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

impl Change {
    fn request(&self, token: &str) -> Result<Request<Bytes>, Problem> {
        let weight_body = |weight: Option<u16>| serde_json::json!({ "weight": weight }).to_string();
        let (method, target, end, body) = match self {
            Self::Register { target, weight } => (Method::PUT, target, "", weight_body(*weight)),
            Self::Deregister { target } => (Method::DELETE, target, "", String::new()),
            Self::Drain { target } => (Method::POST, target, "/drain", String::new()),
            Self::Weight { target, weight } => {
                (Method::PATCH, target, "", weight_body(Some(*weight)))
            }
        };
        let path = paths::target(&target.group, &target.address);
        Request::builder()
            .method(method)
            .uri(format!("{path}{end}"))
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Bytes::from(body))
            .map_err(|_| Problem::NotSent("the token cannot be sent in a header".to_owned()))
    }
}
