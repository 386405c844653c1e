//! The command line of TaskOverflow.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use axum::http::HeaderValue;
use clap::Parser;
use jiff::SignedDuration;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use taskoverflow::api::Behaviour;
use taskoverflow::database::Database;
use taskoverflow::replica::{Options, Replica, ServeError};
use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// How long blocking threads may take to close the database after the last request.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// A small todo service, one replica of many: todos in SQLite or PostgreSQL, health which queries the database.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Address or host name to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1")]
    listen: String,
    /// Port to listen on; 0 takes a free one and prints it
    #[arg(long, default_value_t = 6400)]
    port: u16,
    /// Value of the x-replica header [default: the address and port]
    #[arg(long, value_name = "NAME", value_parser = replica_name)]
    replica: Option<HeaderValue>,
    /// SQLite file (shared by all replicas, created with its folders) or postgres:// URL
    #[arg(
        long,
        value_name = "FILE|URL",
        env = "DATABASE_URL",
        hide_env_values = true,
        default_value = "taskoverflow.db"
    )]
    database: Database,
    /// Time added to each answer about todos, as in 50ms or 2s
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = delay)]
    delay: Duration,
    /// How long to go on serving after SIGTERM, until every balancer knows of it
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = delay)]
    lame_duck: Duration,
    /// Answer 503 on the health endpoint and go on serving todos
    #[arg(long)]
    fail_health: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    raise_file_limit();
    let outcome = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string());
    match outcome.and_then(|runtime| run(runtime, arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "taskoverflow: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One thread is enough for HTTP, since the database has its own and replicas are multiplied rather than grown.
fn run(runtime: Runtime, arguments: Arguments) -> Result<(), String> {
    let result = runtime.block_on(serve(arguments));
    if result.is_ok() {
        runtime.shutdown_timeout(CLOSE_DEADLINE);
    } else {
        runtime.shutdown_background();
    }
    result
}

async fn serve(arguments: Arguments) -> Result<(), String> {
    let mut signals =
        Signals::listen().map_err(|error| format!("cannot listen for signals: {error}"))?;
    let options = Options {
        listen: arguments.listen,
        port: arguments.port,
        name: arguments.replica,
        database: arguments.database,
        behaviour: Behaviour {
            delay: arguments.delay,
            fails_health: arguments.fail_health,
        },
    };
    let start = Replica::start(&options);
    let replica = tokio::select! {
        replica = start => replica.map_err(|error| error.to_string())?,
        // Nothing is served yet, so there is nothing to finish; SQLite rolls back what was begun.
        () = signals.next() => return Ok(()),
    };
    announce(&replica, &options.database);

    let lame_duck = arguments.lame_duck;
    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = std::pin::pin!(replica.serve(async move { drop(stopped.await) }));
    let ended = |result: Result<(), ServeError>| result.map_err(|error| error.to_string());
    tokio::select! {
        result = &mut serving => return ended(result),
        () = signals.next() => {}
    }
    let at_once = "stopped at once by a second signal";
    tokio::select! {
        result = &mut serving => return ended(result),
        () = tokio::time::sleep(lame_duck) => drop(stop),
        () = signals.next() => return Err(at_once.to_owned()),
    }
    tokio::select! {
        result = serving => ended(result),
        () = signals.next() => Err(at_once.to_owned()),
    }
}

/// A closed standard output (a parent that does not read) must not end the replica.
fn announce(replica: &Replica, database: &Database) {
    let name = String::from_utf8_lossy(replica.name().as_bytes());
    let mut output = io::stdout();
    let _ = writeln!(
        output,
        "taskoverflow {} (replica {name}, database {database})",
        replica.address()
    );
    let _ = output.flush();
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Cancel-safe, as both receivers are.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Each user needs a socket, and a load test has more than the usual soft limit of 1024. Ignored if it fails.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

fn replica_name(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text)
        .ok()
        .filter(|name| !name.is_empty())
        .ok_or_else(|| "a replica's name is sent in a header: printable and not empty".to_owned())
}

fn delay(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|delay| Duration::try_from(delay).ok())
        .ok_or_else(|| "give a number with its unit, as in 50ms or 2s".to_owned())
}
