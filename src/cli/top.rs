//! `weir top`: the status of a running Weir on the whole terminal, always new.

mod app;
mod draw;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event as TerminalEvent};
use tokio::signal::unix::{SignalKind, signal};

use super::admin::AdminArguments;
use super::ask::ask;
use super::format::is_coloured;
use crate::admin::{EventList, Status, paths};
use app::App;

/// From one status to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// Events that are asked for at the start, and most that come at once later.
const EVENTS: usize = 500;

/// What has come and was not looked at yet.
const QUEUE: usize = 64;

/// `weir top`.
#[derive(Debug, clap::Args)]
pub(super) struct TopArguments {
    /// Only this target group
    group: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
}

/// What happens.
enum Input {
    Terminal(TerminalEvent),
    Status(Box<Result<Status, String>>),
    Events(Result<EventList, String>),
    /// A signal, or the end of the terminal.
    Quit,
}

/// Shows it until `q`, or a signal: exit code 0, or 2 if there is no terminal.
pub(super) fn top(arguments: &TopArguments) -> ExitCode {
    let out = io::stdout();
    if !out.is_terminal() || !io::stdin().is_terminal() {
        print_problem("this is no terminal; `weir status --watch` prints into anything");
        return ExitCode::from(2);
    }
    let app = App::new(
        &arguments.admin.admin,
        arguments.group.clone(),
        is_coloured(&out),
    );
    // Restores the terminal when it panics, too.
    let shown = ratatui::try_init().and_then(|mut terminal| {
        let shown =
            begin(&arguments.admin.admin).and_then(|inputs| show(&mut terminal, app, &inputs));
        ratatui::restore();
        shown
    });
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_problem(&format!("the terminal cannot be used: {error}"));
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stderr, reason = "a command talks to its terminal")]
fn print_problem(problem: &str) {
    eprintln!("weir top: {problem}");
}

/// Draws after each input.
fn show(terminal: &mut DefaultTerminal, mut app: App, inputs: &Receiver<Input>) -> io::Result<()> {
    while !app.is_over() {
        terminal.draw(|frame| draw::draw(frame, &mut app))?;
        // Several that have come meanwhile are drawn once. The senders live as long as the process.
        let Ok(first) = inputs.recv() else {
            return Ok(());
        };
        take(&mut app, first);
        for input in inputs.try_iter() {
            take(&mut app, input);
        }
    }
    Ok(())
}

fn take(app: &mut App, input: Input) {
    match input {
        Input::Terminal(TerminalEvent::Key(key)) => app.press(key),
        // Drawn anew.
        Input::Terminal(_) => {}
        Input::Status(status) => app.update(*status),
        Input::Events(events) => app.add_events(events),
        Input::Quit => app.quit(),
    }
}

/// Starts the threads that send inputs; they end with the process.
fn begin(admin: &str) -> io::Result<Receiver<Input>> {
    let (sender, inputs) = sync_channel(QUEUE);
    let (keys, signals) = (sender.clone(), sender.clone());
    let admin = admin.to_owned();
    let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(name.to_owned()).spawn(run)
    };
    spawn("keys", Box::new(move || read_keys(&keys)))?;
    spawn("signals", Box::new(move || await_signal(&signals)))?;
    spawn("status", Box::new(move || poll(&admin, &sender)))?;
    Ok(inputs)
}

fn read_keys(inputs: &SyncSender<Input>) {
    while let Ok(event) = event::read() {
        if inputs.send(Input::Terminal(event)).is_err() {
            return;
        }
    }
    // Fails if it has ended already.
    let _ = inputs.send(Input::Quit);
}

fn await_signal(inputs: &SyncSender<Input>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return;
    };
    runtime.block_on(async {
        let [mut term, mut hangup, mut interrupt] = [
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::interrupt(),
        ]
        .map(signal)
        .map(Result::ok);
        tokio::select! {
            Some(()) = next(&mut term) => {}
            Some(()) = next(&mut hangup) => {}
            Some(()) = next(&mut interrupt) => {}
        }
    });
    // As above.
    let _ = inputs.send(Input::Quit);
}

/// The next signal; never, if they cannot be waited for.
async fn next(signal: &mut Option<tokio::signal::unix::Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Asks again and again, whatever the answers are.
fn poll(admin: &str, inputs: &SyncSender<Input>) {
    let mut last: Option<u64> = None;
    loop {
        let status = ask::<Status>(admin, paths::STATUS).map(|(status, _)| status);
        let is_there = status.is_ok();
        if inputs.send(Input::Status(Box::new(status))).is_err() {
            return;
        }
        if is_there {
            let since = last.map_or(String::new(), |last| format!("&since={last}"));
            let path = format!("{}?limit={EVENTS}{since}", paths::EVENTS);
            let events = ask::<EventList>(admin, &path).map(|(events, _)| events);
            last = events
                .as_ref()
                .ok()
                .and_then(|answer| follow_up(answer, last));
            if inputs.send(Input::Events(events)).is_err() {
                return;
            }
        }
        thread::sleep(INTERVAL);
    }
}

/// After which event the next list is to begin; `None` for the newest ones: another process has come,
/// which counts from one.
fn follow_up(answer: &EventList, last: Option<u64>) -> Option<u64> {
    let newest = answer.events.last().map(|event| event.sequence).or(last)?;
    // One that came while the list was made has a higher number than the last before.
    (!answer.events.is_empty() || newest <= answer.last).then_some(newest)
}

#[cfg(test)]
mod tests;
