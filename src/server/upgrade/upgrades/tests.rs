//! Both sides of an upgrade in one process, over a real socket.

use std::net::TcpListener;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::replicas::ReplicaCounts;
use crate::server::upgrade::ListenerSockets;
use crate::server::upgrade::message::{Inbox, exchange};
use crate::server::worker::Worker;
use crate::state::Reader;
use crate::state::fixture::publish;

/// A daemon that runs and may be taken over from.
struct Old {
    upgrades: Upgrades,
    reader: Reader,
    folder: TempDir,
}

impl Old {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (_, reader) = publish(Vec::new()).await;
        let mut old = Self {
            upgrades: Upgrades::default(),
            reader,
            folder,
        };
        let path = old.path();
        old.upgrades.serving(Some(&path), proof(&old.reader));
        old
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("upgrade.sock")
    }

    fn state(&self) -> HandoverState {
        let socket = || TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = |n: u16| ListenerSockets {
            id: format!("l{n}").as_str().into(),
            bind: ([127, 0, 0, 1], n).into(),
            sockets: vec![socket().into()],
            file: None,
        };
        HandoverState {
            listeners: (1..=3).map(listener).collect(),
            admin: None,
            replicas: ReplicaCounts::from_iter([("todo".into(), 3)]),
            reader: self.reader.clone(),
        }
    }

    /// Hands its sockets to each process that asks, until there is another event.
    async fn run(&mut self) -> UpgradeEvent {
        loop {
            match self.upgrades.next().await {
                UpgradeEvent::Asked(request) => {
                    let state = self.state();
                    self.upgrades.hand_over(request, Ok(state));
                }
                event => return event,
            }
        }
    }

    /// Runs until the other side is done.
    async fn run_while<T>(&mut self, other: impl Future<Output = T>) -> T {
        tokio::select! {
            event = self.run() => panic!("{event:?}"),
            done = other => done,
        }
    }

    /// Waits until a handover has failed.
    async fn goes_on(&mut self) {
        while self.upgrades.handover.is_some() {
            let event = timeout(Duration::from_millis(100), self.run()).await;
            assert!(event.is_err(), "{event:?}");
        }
        assert!(self.upgrades.request_socket.is_some());
    }
}

fn proof(reader: &Reader) -> ServingProof {
    ServingProof {
        reader: reader.clone(),
        ping: Worker::ping(&[]),
    }
}

/// A new process after it has received the sockets. The test sends its messages.
async fn scripted(path: &Path) -> (Outbox, Inbox) {
    let (outbox, mut inbox) = exchange(UnixStream::connect(path).await.unwrap());
    send(&outbox, HandoverMessage::Hello).await;
    loop {
        let (message, _) = inbox.next().await.unwrap();
        if message == HandoverMessage::Done {
            return (outbox, inbox);
        }
    }
}

async fn send(outbox: &Outbox, message: HandoverMessage) {
    outbox.send(message, Vec::new()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_process_that_answers_its_checks_takes_the_place_of_the_old_one() {
    let mut old = Old::start().await;
    let (path, reader) = (old.path(), old.reader.clone());
    let new = async {
        let mut upgrades = Upgrades::default();
        let mut inherited = upgrades.take_over(Some(&path)).await.unwrap();
        let sockets: Vec<_> = inherited
            .take_listeners()
            .iter()
            .map(|listener| {
                let id = listener.id.to_string();
                (id, listener.bind.to_string(), listener.sockets.len())
            })
            .collect();
        assert_eq!(
            sockets,
            [1, 2, 3].map(|n| (format!("l{n}"), format!("127.0.0.1:{n}"), 1))
        );
        upgrades.serving(Some(&path), proof(&reader));
        assert!(matches!(upgrades.next().await, UpgradeEvent::Confirmed));
        upgrades.take_place().await;
        upgrades
    };
    let (event, new) = tokio::join!(old.run(), new);
    assert!(matches!(event, UpgradeEvent::Replaced));
    assert!(old.upgrades.request_socket.is_none());
    assert!(
        new.request_socket.is_some(),
        "the next process asks the new one"
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_process_that_serves_and_dies_changes_nothing() {
    let mut old = Old::start().await;
    let path = old.path();
    for _ in 0..2 {
        let (outbox, inbox) = old.run_while(scripted(&path)).await;
        send(&outbox, HandoverMessage::Serving(4711)).await;
        drop((outbox, inbox));
        old.goes_on().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_process_that_hangs_is_refused_in_the_end() {
    let mut old = Old::start().await;
    let path = old.path();
    // One never says that it serves; the workers of the other never answer.
    for said in [None, Some(HandoverMessage::Serving(4711))] {
        let (outbox, mut inbox) = old.run_while(scripted(&path)).await;
        if let Some(message) = said {
            send(&outbox, message).await;
        }
        old.goes_on().await;
        let refused = async {
            while let Some((message, _)) = inbox.next().await {
                if matches!(message, HandoverMessage::Refused(_)) {
                    return true;
                }
            }
            false
        };
        assert!(refused.await);
    }
}

#[tokio::test(start_paused = true)]
async fn one_process_at_a_time_takes_over() {
    let mut old = Old::start().await;
    let path = old.path();
    let _first = old.run_while(scripted(&path)).await;
    let mut second = Upgrades::default();
    let refused = old.run_while(second.take_over(Some(&path))).await;
    assert!(matches!(refused, Err(TakeOverError::Refused { .. })));
    assert!(old.upgrades.handover.is_some(), "the first one goes on");
}

#[tokio::test(start_paused = true)]
async fn an_old_process_that_is_told_to_stop_ends_the_new_one_with_it() {
    let mut old = Old::start().await;
    let path = old.path();
    let mut new = Upgrades::default();
    let inherited = old.run_while(new.take_over(Some(&path))).await;
    drop(inherited.unwrap());
    old.upgrades.abort();
    assert!(matches!(new.next().await, UpgradeEvent::Refused));
}

#[tokio::test(start_paused = true)]
async fn a_new_process_runs_on_when_the_old_one_dies_or_hangs() {
    for hangs in [false, true] {
        let mut old = Old::start().await;
        let (path, reader) = (old.path(), old.reader.clone());
        let mut new = Upgrades::default();
        let inherited = old.run_while(new.take_over(Some(&path))).await;
        drop(inherited.unwrap());
        let handover = old.upgrades.handover.take().unwrap();
        handover.task.abort();
        let outbox = hangs.then_some(handover.outbox);
        new.serving(Some(&path), proof(&reader));
        assert!(matches!(new.next().await, UpgradeEvent::Confirmed));
        drop(outbox);
    }
}
