//! Two daemons' sides of an upgrade in one process, over a real socket.

use std::net::TcpListener;

use tempfile::TempDir;

use super::message::{Inbox, exchange};
use super::*;
use crate::replicas::Wishes;
use crate::server::worker::Pulse;
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
        old.upgrades.serving(Some(&path), live(&old.reader));
        old
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("upgrade.sock")
    }

    fn state(&self) -> HandoverState {
        let socket = || TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = |n: u16| {
            let bind = ([127, 0, 0, 1], n).into();
            (format!("l{n}").as_str().into(), bind, vec![socket()])
        };
        HandoverState {
            listeners: (1..=3).map(listener).collect(),
            admin: None,
            replicas: Wishes::from_iter([("todo".into(), 3)]),
            reader: self.reader.clone(),
        }
    }

    /// Hands its sockets to whatever asks, until something comes of it.
    async fn run(&mut self) -> Event {
        loop {
            match self.upgrades.next().await {
                Event::Asked(asking) => {
                    let state = self.state();
                    self.upgrades.hand_over(asking, Ok(state));
                }
                event => return event,
            }
        }
    }

    /// Goes on for as long as the other side acts.
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
        assert!(self.upgrades.offer.is_some());
    }
}

fn live(reader: &Reader) -> Live {
    Live {
        reader: reader.clone(),
        pulse: Pulse::of(&[]),
    }
}

/// A new process that says what the test wants.
async fn script(path: &Path) -> (Outbox, Inbox) {
    let (outbox, mut inbox) = exchange(UnixStream::connect(path).await.unwrap());
    say(&outbox, HandoverMessage::Hello).await;
    loop {
        let (message, _) = inbox.next().await.unwrap();
        if message == HandoverMessage::Done {
            return (outbox, inbox);
        }
    }
}

async fn say(outbox: &Outbox, message: HandoverMessage) {
    outbox.send(message, Vec::new()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_process_that_answers_for_itself_takes_the_place_of_the_old_one() {
    let mut old = Old::start().await;
    let (path, reader) = (old.path(), old.reader.clone());
    let new = async {
        let mut upgrades = Upgrades::default();
        let mut inherited = upgrades.take_over(Some(&path)).await.unwrap();
        let listeners = inherited.listeners();
        let sockets: Vec<_> = listeners
            .iter()
            .map(|(id, bind, sockets)| (id.to_string(), bind.port(), sockets.len()))
            .collect();
        assert_eq!(sockets, [1, 2, 3].map(|n| (format!("l{n}"), n, 1)));
        upgrades.serving(Some(&path), live(&reader));
        assert!(matches!(upgrades.next().await, Event::Confirmed));
        upgrades.take_place().await;
        upgrades
    };
    let (event, new) = tokio::join!(old.run(), new);
    assert!(matches!(event, Event::Replaced));
    assert!(old.upgrades.offer.is_none());
    assert!(new.offer.is_some(), "the next one asks the new one");
}

#[tokio::test(start_paused = true)]
async fn a_new_process_that_serves_and_dies_changes_nothing() {
    let mut old = Old::start().await;
    let path = old.path();
    for _ in 0..2 {
        let (outbox, inbox) = old.run_while(script(&path)).await;
        say(&outbox, HandoverMessage::Serving(4711)).await;
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
        let (outbox, mut inbox) = old.run_while(script(&path)).await;
        if let Some(message) = said {
            say(&outbox, message).await;
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
    let _first = old.run_while(script(&path)).await;
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
    assert!(matches!(new.next().await, Event::Refused));
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
        new.serving(Some(&path), live(&reader));
        assert!(matches!(new.next().await, Event::Confirmed));
        drop(outbox);
    }
}
