//! Counts the requests that fail while targets, networks, configurations or proxies change or
//! fail: real processes, real sockets, one table of results.
//!
//! ```text
//! cargo test --test chaos                       every scenario on every proxy that is installed
//! cargo test --test chaos -- --proxy weir       on one of them
//! cargo test --test chaos -- kill DNS           scenarios with one of the words in their name
//! cargo test --test chaos -- --rounds 20        each of them twenty times as long
//! ```
//!
//! | column     | means                                                                        |
//! |------------|------------------------------------------------------------------------------|
//! | `scenario` | the fault that was caused, see [`scenarios::Scenario::name`]                 |
//! | `proxy`    | `weir`, `nginx` or `haproxy`                                                 |
//! | `sent`     | requests that ended, with any result                                         |
//! | `200`      | requests answered with 200                                                   |
//! | `failed`   | GETs without a 200; a GET on a kept connection that was closed is sent again |
//! | `POSTs`    | POSTs without a 200; they are never sent again                               |
//! | `shed`     | those of `failed` and `POSTs` that were refused with 503 and `Retry-After`   |
//! | `retried`  | requests that Weir sent to another target, by its metric; `-` for the others |
//! | `twice`    | POSTs that targets executed more than once                                   |
//! | `lost`     | POSTs answered with 200 that no target executed                              |
//! | `p99`      | 99th percentile of the time to a 200, in milliseconds                        |
//!
//! The program fails if a GET to Weir fails that a second target could have served, if a POST
//! was executed twice or never, or if requests in flight or sockets stay. Some scenarios need
//! root (a name server, a network namespace).

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    unreachable_pub,
    reason = "a program that prints a table"
)]

mod backend;
mod clients;
mod dns;
mod http;
mod lab;
mod network;
mod proxies;
mod report;
mod scenarios;

use std::io;
use std::process::ExitCode;

use futures_util::future::join_all;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

use lab::Lab;
use proxies::Kind;
use report::Row;
use scenarios::Scenario;

/// The command line.
struct Options {
    words: Vec<String>,
    kinds: Vec<Kind>,
    rounds: usize,
}

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = runtime()?;
    if let [word, addr, journal] = arguments.as_slice()
        && word == "backend"
    {
        let addr = addr.parse().map_err(io::Error::other)?;
        runtime.block_on(backend::run(addr, journal.into()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::read(arguments).map_err(io::Error::other)?;
    Ok(runtime.block_on(run(&options)))
}

fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
}

async fn run(options: &Options) -> ExitCode {
    println!("{}", Row::heading());
    let mut faults = Vec::new();
    let mut passed = 0;
    let (idle, busy): (Vec<Scenario>, Vec<Scenario>) = Scenario::ALL
        .into_iter()
        .filter(|scenario| options.wants(*scenario))
        .partition(|scenario| scenario.is_idle());
    let pairs = |scenarios: &[Scenario]| -> Vec<(Scenario, Kind)> {
        scenarios
            .iter()
            .flat_map(|&scenario| options.kinds.iter().map(move |&kind| (scenario, kind)))
            .collect()
    };
    let mut note = |row: &Row| {
        println!("{row}");
        for error in row.errors() {
            println!("{:<47} {error}", "");
        }
        let found = row.faults();
        passed += usize::from(found.is_empty());
        faults.extend(
            found
                .into_iter()
                .map(|fault| format!("{}: {fault}", row.scenario.name())),
        );
    };
    let mut labs = Vec::new();
    for (scenario, kind) in pairs(&busy) {
        let (row, lab) = perform(scenario, kind, options.rounds).await;
        note(&row);
        labs.push((scenario, lab));
    }
    let idle = pairs(&idle);
    let rows = idle
        .iter()
        .map(|&(scenario, kind)| perform(scenario, kind, options.rounds));
    for (row, lab) in join_all(rows).await {
        note(&row);
        labs.push((row.scenario, lab));
    }
    // Checked last, because pools keep their connections for a few seconds.
    for (scenario, lab) in &labs {
        if let Some(fault) = lab.sockets_left().await {
            faults.push(format!("{}: {fault}", scenario.name()));
        }
    }
    for fault in &faults {
        eprintln!("FAULT {fault}");
    }
    let result = if faults.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {result}. {passed} passed; {} failed; 0 ignored",
        faults.len()
    );
    ExitCode::from(u8::from(!faults.is_empty()))
}

/// Returns the line of the table, and the lab with a proxy that may still run.
async fn perform(scenario: Scenario, kind: Kind, rounds: usize) -> (Row, Lab) {
    let mut lab = Lab::new(kind, rounds);
    let outcome = scenario.perform(&mut lab).await;
    if kind != Kind::Weir {
        lab.end();
    }
    let row = Row {
        scenario,
        kind,
        outcome,
    };
    (row, lab)
}

impl Options {
    fn read(arguments: Vec<String>) -> Result<Self, String> {
        let mut options = Self {
            words: Vec::new(),
            kinds: Vec::new(),
            rounds: 1,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--proxy" => {
                    let name = value()?;
                    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
                    options
                        .kinds
                        .push(kind.ok_or(format!("no proxy is called {name}"))?);
                }
                "--rounds" => {
                    options.rounds = value()?.parse().map_err(|_| "--rounds needs a number")?;
                }
                // Options that `cargo test` gives to every test program.
                flag if flag.starts_with("--") => {}
                word => options.words.push(word.to_lowercase()),
            }
        }
        if options.kinds.is_empty() {
            options.kinds = Kind::ALL
                .into_iter()
                .filter(|kind| kind.is_installed())
                .collect();
        }
        Ok(options)
    }

    fn wants(&self, scenario: Scenario) -> bool {
        let name = scenario.name().to_lowercase();
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }
}
