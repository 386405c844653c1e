//! The faults, one function each.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::try_join_all;
use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::backend::Backend;
use crate::clients::Behaviour;
use crate::dns::NameServer;
use crate::lab::{Findings, Lab, free_address, until};
use crate::network::Link;
use crate::proxies::{Kind, LogPlace, Name};

/// Requests between two steps of a scenario: about half a second of the usual load.
const BATCH: usize = 1_000;

/// A fault or a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    Killed,
    RollingDeploy,
    IdleClose(u64),
    DnsChange,
    Reloads,
    GroupEdited,
    Upgrade,
    ScaleIn,
    Stalled,
    InstantErrors,
    LinkDown,
    ChecksFail,
    Overload,
    LogStalled,
    LogGone,
    DiskFull,
    BlueGreen,
    ListenerMoved,
    NoProcesses,
    SlowAdminClients,
}

impl Scenario {
    pub const ALL: [Self; 22] = [
        Self::Killed,
        Self::RollingDeploy,
        Self::IdleClose(1),
        Self::IdleClose(2),
        Self::IdleClose(5),
        Self::DnsChange,
        Self::Reloads,
        Self::GroupEdited,
        Self::Upgrade,
        Self::ScaleIn,
        Self::Stalled,
        Self::InstantErrors,
        Self::LinkDown,
        Self::ChecksFail,
        Self::Overload,
        Self::LogStalled,
        Self::LogGone,
        Self::DiskFull,
        Self::BlueGreen,
        Self::ListenerMoved,
        Self::NoProcesses,
        Self::SlowAdminClients,
    ];

    pub fn name(self) -> String {
        match self {
            Self::Killed => "a target killed with SIGKILL".to_owned(),
            Self::RollingDeploy => "targets replaced one after another".to_owned(),
            Self::IdleClose(seconds) => format!("targets close idle connections at {seconds} s"),
            Self::DnsChange => "the DNS answer changes".to_owned(),
            Self::Reloads => "100 reloads".to_owned(),
            Self::GroupEdited => "the target group edited".to_owned(),
            Self::Upgrade => "binary upgrade".to_owned(),
            Self::ScaleIn => "scale in from 4 to 1, sticky clients".to_owned(),
            Self::Stalled => "a target stalls".to_owned(),
            Self::InstantErrors => "a target answers 503 at once".to_owned(),
            Self::LinkDown => "a target's link goes down".to_owned(),
            Self::ChecksFail => "all checks fail at once".to_owned(),
            Self::Overload => "three times the capacity".to_owned(),
            Self::LogStalled => "the log's reader stalls".to_owned(),
            Self::LogGone => "the log's reader is gone".to_owned(),
            Self::DiskFull => "the log's disk is full".to_owned(),
            Self::BlueGreen => "another group by reload, cold targets".to_owned(),
            Self::ListenerMoved => "the listener's address moved 20 times".to_owned(),
            Self::NoProcesses => "reloads at the limit of processes".to_owned(),
            Self::SlowAdminClients => "64 slow clients of the admin port".to_owned(),
        }
    }

    /// Whether refused requests are no failure, because there are more than the capacity.
    pub fn may_shed(self) -> bool {
        self == Self::Overload
    }

    /// Whether it mostly waits, so that it can run beside others of its kind.
    pub fn is_idle(self) -> bool {
        matches!(self, Self::IdleClose(_))
    }

    /// Runs the scenario. Fails with `Unsupported` if this machine or proxy cannot.
    pub async fn perform(self, lab: &mut Lab) -> io::Result<Findings> {
        match self {
            Self::Killed => killed(lab).await,
            Self::RollingDeploy => rolling_deploy(lab).await,
            Self::IdleClose(seconds) => idle_close(lab, Duration::from_secs(seconds)).await,
            Self::DnsChange => dns_change(lab).await,
            Self::Reloads => reloads(lab).await,
            Self::GroupEdited => group_edited(lab).await,
            Self::Upgrade => upgrade(lab).await,
            Self::ScaleIn => scale_in(lab).await,
            Self::Stalled => stalled(lab).await,
            Self::InstantErrors => instant_errors(lab).await,
            Self::LinkDown => link_down(lab).await,
            Self::ChecksFail => checks_fail(lab).await,
            Self::Overload => overload(lab).await,
            Self::LogStalled => log_to(lab, LogPlace::Stalled).await,
            Self::LogGone => log_to(lab, LogPlace::Gone).await,
            Self::DiskFull => log_to(lab, LogPlace::Full).await,
            Self::BlueGreen => blue_green(lab).await,
            Self::ListenerMoved => listener_moved(lab).await,
            Self::NoProcesses => no_processes(lab).await,
            Self::SlowAdminClients => slow_admin_clients(lab).await,
        }
    }
}

async fn killed(lab: &mut Lab) -> io::Result<Findings> {
    lab.start().await?;
    let load = lab.load(Behaviour::default());
    load.wait_for(BATCH / 2).await;
    for round in 0..lab.rounds {
        let victim = round % lab.backends.len();
        let addr = lab.backends[victim].addr;
        lab.backends[victim].kill();
        load.wait_for(3 * BATCH).await;
        lab.backends[victim] = Backend::start(addr, &lab.journal()).await?;
        load.wait_for(BATCH).await;
    }
    lab.conclude(load).await
}

/// New targets replace old ones as an orchestrator does it: an old one is terminated after the
/// proxy was reloaded without it.
async fn rolling_deploy(lab: &mut Lab) -> io::Result<Findings> {
    lab.start().await?;
    let load = lab.load(Behaviour::default());
    for _ in 0..4 * lab.rounds {
        lab.add_backends(1).await?;
        lab.target_all();
        lab.reload().await?;
        load.wait_for(BATCH / 4).await;
        let old = lab.backends.remove(0);
        lab.target_all();
        lab.reload().await?;
        load.wait_for(BATCH / 4).await;
        old.terminate();
        load.wait_for(BATCH / 4).await;
    }
    lab.conclude(load).await
}

/// All clients send at about the idle timeout of the targets.
async fn idle_close(lab: &mut Lab, idle: Duration) -> io::Result<Findings> {
    lab.start().await?;
    for backend in &lab.backends {
        backend.control(&format!("idle={}", idle.as_millis())).await;
    }
    let behaviour = Behaviour {
        pause: idle,
        jitter: Duration::from_millis(20),
        ..Behaviour::default()
    };
    let load = lab.load(behaviour);
    let bursts = (10_000 / idle.as_millis() as usize).max(2);
    load.wait_for(behaviour.clients * bursts * lab.rounds).await;
    lab.conclude(load).await
}

/// The name points to two targets, then to two others; the first two end when they should get
/// no more requests.
async fn dns_change(lab: &mut Lab) -> io::Result<Findings> {
    let place = std::process::id();
    let [_, _, high, low] = place.to_be_bytes();
    let kind = lab.kind as u8;
    let server = Ipv4Addr::new(127, 50 + kind, high, low);
    let server = NameServer::start(server).await.map_err(unsupported)?;
    let port = free_address().port();
    let address = |n: u8| Ipv4Addr::new(127, 60 + kind, low.max(1), n);
    for n in 1..=4 {
        let addr = SocketAddr::from((address(n), port));
        lab.backends
            .push(Backend::start(addr, &lab.journal()).await?);
    }
    server.answer(&[address(1), address(2)]);
    lab.spec.name = Some(Name {
        host: "app.chaos.test".to_owned(),
        port,
        server: server.addr,
    });
    lab.start_proxy().await?;
    let load = lab.load(Behaviour::default());
    load.wait_for(BATCH).await;
    server.answer(&[address(3), address(4)]);
    if lab.kind == Kind::Weir {
        let proxy = lab.proxy();
        until("weir has the new addresses of the name", async || {
            let targets = proxy.targets().await;
            let moved = |n| {
                let addr = format!("{}:{port}", address(n));
                let at = |target: &&serde_json::Value| target["address"] == addr.as_str();
                targets
                    .iter()
                    .find(at)
                    .is_some_and(|target| target["state"] == "healthy")
            };
            moved(3) && moved(4)
        })
        .await?;
        load.wait_for(BATCH / 4).await;
    } else {
        // Several times the TTL of the answer.
        load.wait_for(8 * BATCH).await;
    }
    for backend in lab.backends.drain(..2) {
        backend.terminate();
        load.wait_for(BATCH).await;
    }
    lab.conclude(load).await
}

async fn reloads(lab: &mut Lab) -> io::Result<Findings> {
    lab.start().await?;
    let load = lab.load(Behaviour::default());
    for _ in 0..100 * lab.rounds {
        lab.spec.targets.rotate_left(1);
        lab.reload().await?;
    }
    load.wait_for(BATCH).await;
    lab.conclude(load).await
}

async fn group_edited(lab: &mut Lab) -> io::Result<Findings> {
    lab.start().await?;
    let load = lab.load(Behaviour::default());
    for round in 0..10 * lab.rounds {
        let out = lab.spec.targets.remove(round % 4);
        lab.reload().await?;
        load.wait_for(BATCH / 8).await;
        lab.spec.targets.push(out);
        lab.reload().await?;
        load.wait_for(BATCH / 8).await;
    }
    lab.conclude(load).await
}

async fn upgrade(lab: &mut Lab) -> io::Result<Findings> {
    lab.start().await?;
    let load = lab.load(Behaviour::default());
    for _ in 0..2 * lab.rounds {
        load.wait_for(BATCH).await;
        lab.proxy().upgrade().await?;
    }
    load.wait_for(3 * BATCH).await;
    lab.conclude(load).await
}

async fn scale_in(lab: &mut Lab) -> io::Result<Findings> {
    lab.spec.sticky = true;
    lab.start().await?;
    let behaviour = Behaviour {
        cookies: true,
        ..Behaviour::default()
    };
    let load = lab.load(behaviour);
    load.wait_for(BATCH).await;
    while lab.backends.len() > 1 {
        let last = lab.backends.pop().expect("more than one");
        lab.target_all();
        lab.reload().await?;
        load.wait_for(BATCH / 2).await;
        last.terminate();
        load.wait_for(BATCH / 2).await;
    }
    lab.conclude(load).await
}

/// The process is stopped: its kernel accepts connections, and no request is answered.
async fn stalled(lab: &mut Lab) -> io::Result<Findings> {
    lab.start().await?;
    let load = lab.load(Behaviour::default());
    load.wait_for(BATCH).await;
    for _ in 0..lab.rounds {
        lab.backends[0].signal(Signal::STOP);
        load.wait_for(4 * BATCH).await;
        lab.backends[0].signal(Signal::CONT);
        load.wait_for(BATCH).await;
    }
    lab.conclude(load).await
}

async fn instant_errors(lab: &mut Lab) -> io::Result<Findings> {
    lab.start().await?;
    let load = lab.load(Behaviour::default());
    load.wait_for(BATCH).await;
    for _ in 0..lab.rounds {
        lab.backends[0].control("answer=503").await;
        load.wait_for(4 * BATCH).await;
        lab.backends[0].control("answer=none").await;
        load.wait_for(BATCH).await;
    }
    lab.conclude(load).await
}

/// The link to one target goes down: packets are lost without a reset or an ICMP error.
async fn link_down(lab: &mut Lab) -> io::Result<Findings> {
    lab.add_backends(3).await?;
    let link = Link::new(lab.kind as u8).map_err(unsupported)?;
    let addr = SocketAddr::from((link.far, free_address().port()));
    let far = Backend::start_in(Some(&link.namespace), addr, &lab.journal()).await?;
    lab.backends.push(far);
    lab.target_all();
    lab.start_proxy().await?;
    let load = lab.load(Behaviour::default());
    load.wait_for(BATCH).await;
    for _ in 0..lab.rounds {
        link.down()?;
        load.wait_for(4 * BATCH).await;
        link.up()?;
        load.wait_for(BATCH).await;
    }
    lab.conclude(load).await
}

async fn checks_fail(lab: &mut Lab) -> io::Result<Findings> {
    lab.start().await?;
    let load = lab.load(Behaviour::default());
    load.wait_for(BATCH / 2).await;
    for _ in 0..lab.rounds {
        for backend in &lab.backends {
            backend.control("health=bad").await;
        }
        load.wait_for(4 * BATCH).await;
        for backend in &lab.backends {
            backend.control("health=good").await;
        }
        load.wait_for(2 * BATCH).await;
    }
    lab.conclude(load).await
}

/// Four targets with a limit of five requests each; sixty clients with hardly a pause.
async fn overload(lab: &mut Lab) -> io::Result<Findings> {
    const LIMIT: usize = 5;
    lab.spec.limit = Some(LIMIT);
    lab.spec.queue = 10;
    lab.start().await?;
    let behaviour = Behaviour {
        clients: 60,
        pause: Duration::from_millis(1),
        jitter: Duration::from_millis(1),
        ..Behaviour::default()
    };
    let load = lab.load(behaviour);
    load.wait_for(8 * BATCH * lab.rounds).await;
    let mut findings = lab.conclude(load).await?;
    for backend in &lab.backends {
        let most = backend.max_concurrency().await;
        if most > LIMIT {
            findings
                .left
                .push(format!("{most} requests on a target at a time"));
        }
    }
    Ok(findings)
}

/// Every request is logged to an output that takes no data.
async fn log_to(lab: &mut Lab, place: LogPlace) -> io::Result<Findings> {
    if lab.kind == Kind::Nginx && place != LogPlace::Full {
        return Err(not_of_its_kind("nginx logs to files"));
    }
    lab.spec.log = place;
    lab.start().await?;
    let load = lab.load(Behaviour::default());
    load.wait_for(4 * BATCH * lab.rounds).await;
    lab.conclude(load).await
}

/// One reload replaces a group by another one. Its targets start at the same time and need
/// two seconds until they answer.
async fn blue_green(lab: &mut Lab) -> io::Result<Findings> {
    const START: Duration = Duration::from_secs(2);
    lab.start().await?;
    let load = lab.load(Behaviour::default());
    load.wait_for(BATCH / 2).await;
    for _ in 0..lab.rounds {
        let blue = std::mem::take(&mut lab.backends);
        let green: Vec<SocketAddr> = blue.iter().map(|_| free_address()).collect();
        lab.spec.group += 1;
        lab.spec.targets.clone_from(&green);
        let (spec, journal) = (lab.spec.clone(), lab.journal());
        let started = async {
            tokio::time::sleep(START).await;
            try_join_all(green.into_iter().map(|addr| Backend::start(addr, &journal))).await
        };
        let proxy = lab.proxy();
        let (reloaded, started) = tokio::join!(proxy.reload(&spec), started);
        reloaded?;
        lab.backends = started?;
        load.wait_for(2 * BATCH).await;
        for backend in blue {
            backend.terminate();
        }
        load.wait_for(BATCH).await;
    }
    lab.conclude(load).await
}

/// From loopback to all addresses and back: the same port stays open to clients.
async fn listener_moved(lab: &mut Lab) -> io::Result<Findings> {
    lab.start().await?;
    let load = lab.load(Behaviour::default());
    for _ in 0..20 * lab.rounds {
        lab.spec.wide = !lab.spec.wide;
        if let Err(error) = lab.reload().await {
            let is_peer = lab.kind != Kind::Weir;
            return Err(if is_peer {
                not_of_its_kind("it cannot listen at the new address beside the old one")
            } else {
                error
            });
        }
        load.wait_for(BATCH / 8).await;
    }
    load.wait_for(BATCH).await;
    lab.conclude(load).await
}

/// The account may start no more processes or threads, and each reload adds a group with
/// targets in a file.
async fn no_processes(lab: &mut Lab) -> io::Result<Findings> {
    if lab.kind != Kind::Weir {
        return Err(not_of_its_kind("a reload of the others is a new process"));
    }
    if !rustix::process::getuid().is_root() {
        return Err(not_of_its_kind("needs root to become another account"));
    }
    lab.spec.limited = true;
    lab.add_backends(4).await?;
    lab.target_all();
    let targets: Vec<String> = lab.spec.targets.iter().map(SocketAddr::to_string).collect();
    lab.write("targets", &targets.join("\n"))?;
    lab.start_proxy().await?;
    let load = lab.load(Behaviour::default());
    for _ in 0..10 * lab.rounds {
        lab.spec.file_groups += 1;
        lab.reload().await?;
        load.wait_for(BATCH / 8).await;
    }
    lab.conclude(load).await
}

/// Clients of the admin listener that never send a request, with new ones all the time, beside
/// a liveness probe.
async fn slow_admin_clients(lab: &mut Lab) -> io::Result<Findings> {
    const SLOW: usize = 64;
    const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
    if lab.kind != Kind::Weir {
        return Err(not_of_its_kind("the others have no such listener"));
    }
    lab.start().await?;
    let load = lab.load(Behaviour::default());
    let (mut held, mut late) = (VecDeque::new(), 0);
    for _ in 0..100 * lab.rounds {
        while held.len() < SLOW {
            held.push_back(TcpStream::connect(lab.proxy().admin()).await?);
        }
        load.wait_for(BATCH / 32).await;
        late += usize::from(!lab.proxy().is_live(PROBE_TIMEOUT).await);
        held.drain(..SLOW / 8);
    }
    let mut findings = lab.conclude(load).await?;
    if late > 0 {
        findings
            .left
            .push(format!("{late} liveness probes without a response in time"));
    }
    Ok(findings)
}

fn not_of_its_kind(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why.to_owned())
}

fn unsupported(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, error)
}
