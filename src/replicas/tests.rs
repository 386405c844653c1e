//! The replicas of a group as processes: how they start, die, change and end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::config::{TargetGroup, WarmUpRequests};
use crate::state::fixture::{config, empty_group, publish};

/// For whatever is waited for: only a broken test takes this long.
const LONG: Duration = Duration::from_secs(20);

struct Rig {
    publisher: Publisher,
    reader: Reader,
    status: watch::Receiver<Status>,
    shutdown: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

fn group(count: u32, command: &[&str]) -> TargetGroup {
    TargetGroup {
        replicas: Some(fixture::processes(count, command)),
        ..empty_group()
    }
}

impl Rig {
    async fn start(group: TargetGroup) -> Self {
        let (publisher, reader) = publish(vec![group]).await;
        let (writer, status) = watch::channel(Status::new());
        let (shutdown, down) = oneshot::channel();
        let down = async { drop(down.await) };
        let task = tokio::spawn(run(
            reader.clone(),
            publisher.clone(),
            watch::channel(DesiredCounts::new()).1,
            writer,
            ReplicaControl::new(watch::Sender::new(DesiredCounts::new())).1,
            None,
            down,
        ));
        Self {
            publisher,
            reader,
            status,
            shutdown,
            task,
        }
    }

    /// The replicas, once they are as wanted.
    async fn replicas(&mut self, wanted: impl Fn(&[Replica]) -> bool) -> Vec<Replica> {
        let id = TargetGroupId::from("todo");
        let found = |status: &Status| status.get(&id).is_some_and(|group| wanted(&group.replicas));
        let status = timeout(LONG, self.status.wait_for(found)).await;
        let status = status.expect("replicas as wanted").unwrap();
        status[&id].replicas.clone()
    }

    /// Waits until the targets of the group are these.
    async fn targets(&mut self, wanted: &[SocketAddr]) {
        let is_wanted = |reader: &Reader| {
            let snapshot = reader.load_full();
            let targets = snapshot.groups()[0].targets.iter();
            targets
                .filter_map(|t| t.target.id.addr.address())
                .eq(wanted.iter().copied())
        };
        let reader = &mut self.reader;
        let seen = async { while !is_wanted(reader) && reader.changed().await {} };
        timeout(LONG, seen).await.expect("targets as wanted");
    }

    async fn stop(self) {
        self.shutdown.send(()).unwrap();
        timeout(LONG, self.task).await.unwrap().unwrap();
        assert!(self.status.borrow().is_empty());
    }
}

fn started(replica: &Replica) -> bool {
    replica.pid.is_some() && replica.address.is_some()
}

fn running(replica: &Replica) -> bool {
    replica.state == ReplicaState::Running
}

fn process(replica: &Replica) -> Pid {
    Pid::from_raw(replica.pid.unwrap().cast_signed()).unwrap()
}

fn exists(pid: Pid) -> bool {
    rustix::process::test_kill_process(pid).is_ok()
}

/// Plays the service that `sleep` is not.
async fn listen(replica: &Replica) -> TcpListener {
    TcpListener::bind(replica.address.unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_replica_becomes_a_target_when_it_opens_its_port() {
    let mut rig = Rig::start(group(2, &["sleep", "1000"])).await;
    let replicas = rig
        .replicas(|all| all.iter().filter(|r| started(r)).count() == 2)
        .await;
    assert!(replicas.iter().all(|r| r.state == ReplicaState::Starting));
    rig.targets(&[]).await;
    let _first = listen(&replicas[0]).await;
    rig.targets(&[replicas[0].address.unwrap()]).await;
    let _second = listen(&replicas[1]).await;
    let both = [replicas[0].address.unwrap(), replicas[1].address.unwrap()];
    rig.targets(&both).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_killed_replica_is_taken_out_and_replaced_on_another_port() {
    let mut rig = Rig::start(group(1, &["sleep", "1000"])).await;
    let first = rig.replicas(|all| all.iter().any(started)).await.remove(0);
    let _first = listen(&first).await;
    rig.targets(&[first.address.unwrap()]).await;
    rustix::process::kill_process(process(&first), Signal::KILL).unwrap();
    rig.targets(&[]).await;
    let again = |all: &[Replica]| started(&all[0]) && all[0].restarts == 1;
    let second = rig.replicas(again).await.remove(0);
    assert_ne!(second.pid, first.pid);
    assert_ne!(second.address, first.address);
    let _second = listen(&second).await;
    rig.targets(&[second.address.unwrap()]).await;
    rig.stop().await;
    assert!(!exists(process(&second)));
}

#[tokio::test]
async fn shutdown_stops_and_reaps_every_replica() {
    let mut rig = Rig::start(group(4, &["sleep", "1000"])).await;
    let replicas = rig
        .replicas(|all| all.iter().filter(|r| started(r)).count() == 4)
        .await;
    let _running = listen(&replicas[0]).await;
    rig.replicas(|all| all.iter().any(running)).await;
    rig.stop().await;
    assert!(!replicas.iter().any(|replica| exists(process(replica))));
}

#[tokio::test]
async fn dropping_the_future_kills_every_replica() {
    let mut rig = Rig::start(group(2, &["sleep", "1000"])).await;
    let replicas = rig
        .replicas(|all| all.iter().filter(|r| started(r)).count() == 2)
        .await;
    rig.task.abort();
    let gone = async {
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        while replicas.iter().any(|replica| exists(process(replica))) {
            tick.tick().await;
        }
    };
    timeout(LONG, gone).await.unwrap();
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_tried_again_ever_more_slowly() {
    let born = Instant::now();
    let mut rig = Rig::start(group(1, &["/no/such/command"])).await;
    rig.replicas(|all| all.iter().any(|replica| replica.restarts == 4))
        .await;
    // After 100, 200 and 400 milliseconds.
    assert!(born.elapsed() >= Duration::from_millis(700));
    rig.stop().await;
}

#[tokio::test]
async fn a_replica_that_dies_at_once_is_tried_again_ever_more_slowly() {
    let born = Instant::now();
    let mut rig = Rig::start(group(
        1,
        &["sh", "-c", "echo port {port} in use >&2; exit 1"],
    ))
    .await;
    rig.replicas(|all| all.iter().any(|replica| replica.restarts == 3))
        .await;
    assert!(born.elapsed() >= Duration::from_millis(300));
    rig.stop().await;
}

#[tokio::test]
async fn a_replica_that_ignores_sigterm_is_killed_when_its_time_is_over() {
    let mut stubborn = group(1, &["sh", "-c", "trap '' TERM; exec sleep 1000"]);
    let limit = Duration::from_millis(200);
    fixture::process(&mut stubborn).stop_timeout = limit;
    let mut rig = Rig::start(stubborn).await;
    let replica = rig.replicas(|all| all.iter().any(started)).await.remove(0);
    let comm = format!("/proc/{}/comm", replica.pid.unwrap());
    let trapped = async {
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        while std::fs::read_to_string(&comm).unwrap() != "sleep\n" {
            tick.tick().await;
        }
    };
    timeout(LONG, trapped).await.unwrap();
    let told = Instant::now();
    rig.stop().await;
    assert!(told.elapsed() >= limit);
    assert!(!exists(process(&replica)));
}

#[tokio::test]
async fn fewer_replicas_stop_those_that_do_not_run_first() {
    let mut rig = Rig::start(group(2, &["sleep", "1000"])).await;
    let replicas = rig
        .replicas(|all| all.iter().filter(|r| started(r)).count() == 2)
        .await;
    let _second = listen(&replicas[1]).await;
    rig.targets(&[replicas[1].address.unwrap()]).await;
    let fewer = config(vec![group(1, &["sleep", "1000"])]);
    rig.publisher.configure(fewer).await.unwrap();
    let left = rig.replicas(|all| all.len() == 1).await;
    assert_eq!(left[0].pid, replicas[1].pid);
    rig.stop().await;
}

#[tokio::test]
async fn another_command_replaces_a_replica_once_the_new_one_runs() {
    let mut rig = Rig::start(group(1, &["sleep", "1000"])).await;
    let old = rig.replicas(|all| all.iter().any(started)).await.remove(0);
    let _old = listen(&old).await;
    rig.targets(&[old.address.unwrap()]).await;
    let other = config(vec![group(1, &["sleep", "2000"])]);
    rig.publisher.configure(other).await.unwrap();
    let new = rig
        .replicas(|all| all.len() == 2 && started(&all[1]))
        .await
        .remove(1);
    assert!(exists(process(&old)));
    let _new = listen(&new).await;
    rig.targets(&[new.address.unwrap()]).await;
    let left = rig.replicas(|all| all.len() == 1).await;
    assert_eq!(left[0].pid, new.pid);
    assert!(!exists(process(&old)));
    rig.stop().await;
}

#[tokio::test]
async fn a_replica_is_warmed_up_before_it_is_a_target() {
    let mut cold = group(1, &["sleep", "1000"]);
    cold.replicas.as_mut().unwrap().warm_up = Some(WarmUpRequests {
        is_http2: false,
        tls: None,
        path: "/warm".to_owned(),
        count: 2,
        timeout: LONG,
    });
    let mut rig = Rig::start(cold).await;
    let replica = rig.replicas(|all| all.iter().any(started)).await.remove(0);
    let service = listen(&replica).await;
    // The first to connect only look whether the port is open.
    let mut stream = loop {
        let (stream, _) = service.accept().await.unwrap();
        if stream.peek(&mut [0]).await.is_ok_and(|length| length > 0) {
            break stream;
        }
    };
    for _ in 0..2 {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        assert!(request.starts_with(b"GET /warm HTTP/1.1\r\n"));
        rig.targets(&[]).await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    }
    rig.targets(&[replica.address.unwrap()]).await;
    rig.stop().await;
}

#[tokio::test]
async fn what_replicas_use_is_measured() {
    let mut processes = Processes::new("todo".into(), Ports::default(), Guardian::default());
    // Its work is done by children that end and are waited for.
    let work = "while :; do sh -c 'for i in 1 2 3 4 5 6 7 8 9; do :; done'; done";
    let mut settings = fixture::processes(1, &["sh", "-c", work]);
    settings.allowance.cpus = Some(0.001);
    settings.allowance.memory = Some(1 << 20);
    processes.configure(&settings).await.unwrap();
    processes.set_count(1, &[]).await.unwrap();
    let measured = async {
        let mut tick = tokio::time::interval(Duration::from_millis(110));
        loop {
            tick.tick().await;
            let usage = processes.usage().await.unwrap();
            let usage = usage.first().map(|(_, usage)| *usage).unwrap_or_default();
            if let Some(cpu) = usage.cpu.filter(|cpu| *cpu > 0.0) {
                return (cpu, usage.memory.unwrap());
            }
        }
    };
    let (cpu, memory) = timeout(LONG, measured).await.unwrap();
    // One hundredth of a second is a thousand percent of this allowance.
    assert!(cpu >= 100.0, "{cpu}");
    assert!((1.0..100_000.0).contains(&memory), "{memory}");
}

#[tokio::test]
async fn a_group_that_is_removed_stops_its_replicas() {
    let mut rig = Rig::start(group(1, &["sleep", "1000"])).await;
    let replica = rig.replicas(|all| all.iter().any(started)).await.remove(0);
    let _listener = listen(&replica).await;
    rig.targets(&[replica.address.unwrap()]).await;
    rig.publisher.configure(config(Vec::new())).await.unwrap();
    let gone = rig.status.wait_for(Status::is_empty);
    timeout(LONG, gone).await.unwrap().unwrap();
    assert!(!exists(process(&replica)));
    rig.stop().await;
}
