//! `weir target`: changes the targets of a running Weir.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use clap::Subcommand;
use http::header::AUTHORIZATION;
use http::{Method, Request, StatusCode};
use serde_json::Value;

use super::AdminArguments;
use super::fetch;
use super::table::printable;
use crate::admin::{TargetChanged, paths};
use crate::files::read_from;

/// Where the token may be, so that it need not stand in a file.
const TOKEN: &str = "WEIR_ADMIN_TOKEN";

/// `weir target`.
#[derive(Debug, clap::Args)]
pub(super) struct TargetArguments {
    #[command(subcommand)]
    change: Change,
    #[command(flatten)]
    admin: AdminArguments,
    /// A file that holds the admin listener's token; default: what `WEIR_ADMIN_TOKEN` holds
    // No option takes the token itself: every user of the machine would see it.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Change {
    /// Put a target into its group, or back into service
    Register {
        #[command(flatten)]
        target: Target,
        /// How much it gets, 0 to 999; default: what the configuration says, or 1
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=999))]
        weight: Option<u16>,
    },
    /// Take a target out of its group once it has finished what it has
    Deregister {
        #[command(flatten)]
        target: Target,
    },
    /// Give a target nothing new until it is registered again
    Drain {
        #[command(flatten)]
        target: Target,
    },
    /// Change how much a target gets
    Weight {
        #[command(flatten)]
        target: Target,
        /// 0 to 999; 0 gets nothing new
        #[arg(value_name = "N", value_parser = clap::value_parser!(u16).range(0..=999))]
        weight: u16,
    },
}

#[derive(Debug, clap::Args)]
struct Target {
    /// The name of the target group
    group: String,
    /// Where the target answers: 10.0.0.1:6400, or without the group's own port
    address: String,
}

/// Why nothing was changed.
#[derive(Debug, PartialEq, Eq)]
enum Problem {
    /// There is no token to ask with, or nothing to ask: exit code 2.
    NotAsked(String),
    /// Weir did not agree: exit code 1.
    Refused(String),
}

/// Prints what happened in one line: exit code 0 when it did, 1 when Weir refused, 2 when it
/// cannot be reached or there is no token to ask with.
pub(super) fn target(arguments: &TargetArguments) -> ExitCode {
    let (code, problem) = match change(arguments) {
        Ok(line) => {
            // A reader that went away does not undo it.
            let _ = writeln!(io::stdout(), "{line}");
            return ExitCode::SUCCESS;
        }
        Err(Problem::Refused(problem)) => (1, problem),
        Err(Problem::NotAsked(problem)) => (2, problem),
    };
    complain(&problem);
    ExitCode::from(code)
}

#[expect(clippy::print_stderr, reason = "a command talks to its terminal")]
fn complain(problem: &str) {
    eprintln!("weir target: {problem}");
}

fn change(arguments: &TargetArguments) -> Result<String, Problem> {
    let token = token(arguments.token_file.as_deref()).map_err(Problem::NotAsked)?;
    let request = arguments.change.request(&token)?;
    let admin = &arguments.admin.admin;
    let answer = fetch::send(admin, request);
    let answer = answer.map_err(|error| Problem::NotAsked(error.explained()))?;
    if answer.status == StatusCode::OK {
        let changed = serde_json::from_slice::<TargetChanged>(&answer.body);
        if let Ok(changed) = changed {
            return Ok(printable(&changed.message));
        }
    }
    let told = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    Err(Problem::Refused(match told["error"].as_str() {
        Some(error) => printable(error),
        None => format!("{admin} answers {}, which no Weir does", answer.status),
    }))
}

/// Longest file of a token, bytes.
const MAX_TOKEN_FILE: u64 = 4 * 1024;

fn token(file: Option<&Path>) -> Result<String, String> {
    let text = match file {
        // Also of a pipe: what a shell's `<(...)` gives.
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
        let weighted = |weight: Option<u16>| serde_json::json!({ "weight": weight }).to_string();
        let (method, target, end, body) = match self {
            Self::Register { target, weight } => (Method::PUT, target, "", weighted(*weight)),
            Self::Deregister { target } => (Method::DELETE, target, "", String::new()),
            Self::Drain { target } => (Method::POST, target, "/drain", String::new()),
            Self::Weight { target, weight } => (Method::PATCH, target, "", weighted(Some(*weight))),
        };
        let path = paths::target(&target.group, &target.address);
        Request::builder()
            .method(method)
            .uri(format!("{path}{end}"))
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Bytes::from(body))
            .map_err(|_| Problem::NotAsked("the token cannot be sent in a header".to_owned()))
    }
}
