//! The daemon: acts on signals, file changes and events until the process ends.

use std::process::Command;
use std::sync::Arc;

use tracing::{error, info, warn};

use super::config_source::ConfigSource;
use super::error::ApplyError;
use super::running::{Server, ServerEvent};
use super::service_manager::ServiceManager;
use super::signals::Signals;
use super::supervision::Defect;
use super::upgrade::{Inherited, TakeOverError, UpgradeEvent, Upgrades};
use crate::config::{Config, LoadError, Loaded, Parsed};
use crate::files::Versions;
use crate::lifecycle::{LastReload, Phase};
use crate::observe::kind;
use crate::state::Diff;

/// How the daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Every request was finished.
    Graceful,
    /// Requests were dropped, because the deadline passed or a second signal came. Or the
    /// process that was to be replaced goes on, or a part of this one has panicked.
    Forced,
}

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be run.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// No process handed its sockets over.
    #[error(transparent)]
    TakeOver(#[from] TakeOverError),
}

/// What the daemon needs from the program that runs it.
#[derive(Debug)]
pub struct Program<L, T> {
    /// Reads the configuration, again when one of `files` changes or a signal asks for it.
    pub load: L,
    /// The files that the first configuration was read from.
    pub files: Versions,
    /// Gets the result of each reading. Returns the configuration to run; `None`, after it has
    /// reported the problems, if there is none.
    pub take: T,
    /// Called by every thread about once a second.
    pub housekeeping: fn(),
    /// Whether to take the place of the process that runs.
    pub upgrade: bool,
    /// The command of a process that takes this one's place.
    pub successor: fn() -> Command,
    /// The command of the process that ends the replicas with this one, see
    /// [`crate::replicas::guard`].
    pub guardian: fn() -> Command,
}

/// Runs Weir until a signal ends it, or another process takes its place.
///
/// Fails only if the first configuration cannot be run.
pub async fn run<L, T>(config: Config, mut program: Program<L, T>) -> Result<Exit, StartError>
where
    L: Fn() -> Loaded + Send + Sync + 'static,
    T: FnMut(Result<Parsed, LoadError>) -> Option<Config>,
{
    let mut signals = Signals::new().map_err(ApplyError::Signals)?;
    let mut source = ConfigSource::new(program.load, program.files);
    let mut upgrades = Upgrades::default();
    let inherited = if program.upgrade {
        upgrades.take_over(config.upgrade_socket.as_deref()).await?
    } else {
        Inherited::default()
    };
    let server = Server::begin(
        config,
        inherited,
        program.housekeeping,
        Some(program.guardian),
    )?;
    let service = ServiceManager::of_environment();
    let mut daemon = Daemon {
        server,
        upgrades,
        service,
        is_successor: program.upgrade,
        is_renewal: false,
    };
    daemon.offer();
    let asked = Arc::clone(&daemon.server.lifecycle);
    let mut ending = None;
    let ending = loop {
        if let Some(ending) = ending {
            break ending;
        }
        // A switch ends with an event, after which this is evaluated again.
        let takes_reload = !daemon.server.is_switching();
        ending = tokio::select! {
            () = signals.stop.next() => Some(Ending::Asked),
            _ = signals.hangup.recv() => {
                source.ask();
                None
            }
            () = asked.reload_asked() => {
                source.ask();
                None
            }
            read = source.next(), if takes_reload => {
                let problems = problems(&read.result);
                match (program.take)(read.result) {
                    Some(config) => daemon.reload(config),
                    None => daemon.refuse(&problems, read.renewed),
                }
                None
            }
            _ = signals.upgrade.recv() => daemon.start_successor(program.successor),
            event = daemon.server.next() => daemon.handle_server_event(event),
            event = daemon.upgrades.next() => daemon.handle_upgrade_event(event).await,
        };
    };
    drop(source);
    Ok(daemon.end(ending, &mut signals).await)
}

/// Why the daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// A signal requested it.
    Asked,
    /// Another process serves.
    Replaced,
    /// The process that was to be replaced goes on.
    Refused,
    /// A part that cannot be started again has panicked.
    Broken,
}

/// The server, its upgrades, and the service manager that is notified of both.
struct Daemon {
    server: Server,
    upgrades: Upgrades,
    service: ServiceManager,
    /// Whether it was started to take the place of another process.
    is_successor: bool,
    /// Whether the reload under way only renews the files that the last valid configuration names.
    is_renewal: bool,
}

impl Daemon {
    /// Lets another process ask for the sockets at the configured path, unless the predecessor
    /// still answers there.
    fn offer(&mut self) {
        self.upgrades
            .move_to(self.server.config.upgrade_socket.as_deref());
    }

    fn handle_server_event(&mut self, event: ServerEvent) -> Option<Ending> {
        match event {
            ServerEvent::Started => None,
            ServerEvent::Serving => {
                self.serving();
                None
            }
            ServerEvent::Reloaded(result) => {
                self.reloaded(result);
                None
            }
            ServerEvent::Broken(defect) => Some(self.broken(&defect)),
        }
    }

    fn serving(&mut self) {
        log_ready(&self.server);
        let path = self.server.config.upgrade_socket.as_deref();
        let proof = self.server.serving_proof();
        let ping = proof.ping.clone();
        self.upgrades.serving(path, proof);
        if !self.is_successor {
            self.service.ready(self.status(), ping);
        }
    }

    fn reload(&mut self, config: Config) {
        self.reload_begins();
        self.is_renewal = false;
        if let Err(error) = self.server.begin_reload(config) {
            self.reloaded(Err(error));
        }
    }

    /// The file cannot be used: what it named when it last could is read again.
    fn refuse(&mut self, problems: &[String], renewed: Option<Config>) {
        self.reload_begins();
        self.server.metrics.reloaded(false);
        let summary = "the files cannot be used".to_owned();
        let last = LastReload::now(false, summary, problems.to_vec());
        self.server.lifecycle.reloaded(last);
        let problems = (!problems.is_empty()).then(|| problems.join("; "));
        error!(
            event = kind::RELOAD,
            problems, "configuration not applied; the previous one stays active"
        );
        let Some(renewed) = renewed.filter(|renewed| *renewed != self.server.config) else {
            return self.reload_is_over();
        };
        self.is_renewal = true;
        if let Err(error) = self.server.begin_reload(renewed) {
            self.renewed(Err(error));
        }
    }

    fn renewed(&mut self, result: Result<Diff, ApplyError>) {
        self.is_renewal = false;
        match result {
            Ok(diff) => {
                self.server.metrics.refused_before();
                info!(
                    event = kind::RELOAD,
                    "the last valid configuration is in force with the files that it names as they are now: {diff}"
                );
            }
            Err(error) => error!(
                event = kind::RELOAD,
                "files that the last valid configuration names cannot be used: {error}"
            ),
        }
        self.reload_is_over();
    }

    fn reloaded(&mut self, result: Result<Diff, ApplyError>) {
        if self.is_renewal {
            return self.renewed(result);
        }
        self.server.lifecycle.reloaded(match &result {
            Ok(diff) => LastReload::now(true, diff.to_string(), diff.contradictions.clone()),
            Err(error) => LastReload::now(false, error.to_string(), Vec::new()),
        });
        match result {
            Ok(diff) => {
                info!(event = kind::RELOAD, "configuration loaded: {diff}");
                for effect in &diff.effects {
                    info!("effect of the reload: {effect}");
                }
                for contradiction in &diff.contradictions {
                    warn!("{contradiction}");
                }
                self.offer();
            }
            Err(error) => {
                error!(
                    event = kind::RELOAD,
                    "configuration not applied; the previous one stays active: {error}"
                );
            }
        }
        self.reload_is_over();
    }

    fn reload_begins(&self) {
        if self.is_known_to_serve() {
            self.service.reloading();
        }
    }

    fn reload_is_over(&self) {
        if self.is_known_to_serve() {
            self.service.reloaded(self.status());
        }
    }

    /// Whether this process has told the service manager that it is ready.
    fn is_known_to_serve(&self) -> bool {
        self.server.lifecycle.phase() == Phase::Serving && !self.upgrades.is_successor()
    }

    fn start_successor(&mut self, command: fn() -> Command) -> Option<Ending> {
        self.upgrades.start_successor(command);
        None
    }

    async fn handle_upgrade_event(&mut self, event: UpgradeEvent) -> Option<Ending> {
        match event {
            UpgradeEvent::Asked(request) => {
                self.upgrades
                    .hand_over(request, self.server.handover_state());
                None
            }
            UpgradeEvent::Confirmed => {
                self.upgrades.take_place().await;
                self.server.take_place();
                self.service
                    .took_place(self.status(), self.server.serving_proof().ping);
                None
            }
            UpgradeEvent::Replaced => {
                self.server.retire();
                self.service.leave();
                Some(Ending::Replaced)
            }
            UpgradeEvent::Refused => Some(Ending::Refused),
        }
    }

    fn broken(&mut self, defect: &Defect) -> Ending {
        error!(
            event = kind::PROCESS, place = defect.place,
            panic = %defect.message,
            "a part of Weir that cannot be started again has panicked; shutting down, to be started anew"
        );
        self.server.hasten_shutdown();
        Ending::Broken
    }

    async fn end(mut self, ending: Ending, signals: &mut Signals) -> Exit {
        self.upgrades.abort();
        if matches!(ending, Ending::Asked | Ending::Broken) && !self.upgrades.is_successor() {
            self.service.stopping();
        }
        info!(
            event = kind::PROCESS,
            "shutting down; a second signal closes at once"
        );
        let graceful = self.server.shutdown(signals.stop.next()).await;
        if graceful {
            info!("stopped: every request was finished");
        } else {
            warn!("stopped with requests unfinished");
        }
        self.upgrades.outlive_successors(signals).await;
        match ending {
            Ending::Asked | Ending::Replaced if graceful => Exit::Graceful,
            Ending::Asked | Ending::Replaced | Ending::Refused | Ending::Broken => Exit::Forced,
        }
    }

    /// The status line for the service manager.
    fn status(&self) -> String {
        let snapshot = self.server.reader().load_full();
        let (listeners, groups) = (snapshot.listeners().count(), snapshot.groups().len());
        format!("serving: listeners: {listeners}, target groups: {groups}")
    }
}

/// Most problems of a configuration that are shown.
const MAX_PROBLEMS: usize = 20;

/// What is wrong with a configuration, a sentence each.
fn problems(read: &Result<Parsed, LoadError>) -> Vec<String> {
    let found = match read {
        Ok(parsed) => &parsed.warnings,
        Err(LoadError::Invalid(problems)) => problems,
        Err(error) => return vec![error.to_string()],
    };
    let reports = found.reports().take(MAX_PROBLEMS);
    let written = reports.map(|report| {
        let line = report.line.map_or(String::new(), |line| format!(":{line}"));
        format!("{}{line}: {}", report.file, report.message)
    });
    written.collect()
}

/// Logs that the server is ready, and a line for each target group.
fn log_ready(server: &Server) {
    info!(event = kind::PROCESS, "ready: every listener is open");
    let snapshot = server.reader().load_full();
    for group in snapshot.groups() {
        let targets = group.targets.iter();
        let health = match group.config.health {
            Some(_) => {
                let healthy = targets.filter(|t| t.target.health().is_healthy()).count();
                format!("{healthy} healthy")
            }
            None => "not checked".to_owned(),
        };
        let plural = if group.targets.len() == 1 { "" } else { "s" };
        info!(
            "target group {}: {} target{plural}, {health}, {}",
            group.id,
            group.targets.len(),
            group.config.algorithm.name(),
        );
    }
}
