//! A new process takes the place of a running one, and no client notices.
//!
//! The running process listens at the `upgrade_socket`. A new one connects, is given copies
//! of every listening socket, starts on them, and says when it serves. Then the old one
//! shuts down as it always does. Both accept from the same queues in between, so nobody is
//! refused and nobody is lost in a queue. A new process that fails closes the connection,
//! and the old one goes on as if nothing had happened.
//!
//! In a container the first process is the one whose end ends the container. It stays as the
//! keeper when everything else of it is over: it hands its signals on, and ends with the
//! last of its successors, each of which gets the connection to it from the one before.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, kill_process};
use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{error, info, warn};

use super::signals::Signals;
use crate::config::{Config, TargetGroup};
use crate::model::ListenerId;
use crate::replicas::Wishes;
use crate::transport::handover::{MOST_DESCRIPTORS, receive, send};

/// Longest wait for a message of the other process. A start takes longer, but between its
/// connection and its own word nothing is waited for with a deadline.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between attempts to accept while that fails.
const BACK_OFF: Duration = Duration::from_secs(1);

/// What the two processes say.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    /// From the old one: sockets of the listener with this name, and this address in the
    /// configuration.
    Listener(String, SocketAddr),
    /// From the old one: the socket of the admin listener.
    Admin(SocketAddr),
    /// From the old one: how many replicas this group is to have.
    Replicas(String, u32),
    /// From the old one: the connection to the first process of a container.
    Keeper,
    /// From the old one: that was all.
    Done,
    /// From the new one: it serves, under this process id.
    Serving(i32),
}

/// Sockets of the process before this one, of which those that a configuration does not use
/// are closed; and how many replicas it had come to.
#[derive(Debug, Default)]
pub struct Inherited {
    listeners: Vec<(ListenerId, SocketAddr, Vec<TcpListener>)>,
    admin: Option<(SocketAddr, TcpListener)>,
    replicas: Wishes,
}

/// Copies of the sockets a process listens on, and how many replicas its groups have.
#[derive(Debug)]
pub(super) struct Estate {
    pub(super) listeners: Vec<(ListenerId, SocketAddr, Vec<TcpListener>)>,
    pub(super) admin: Option<(SocketAddr, TcpListener)>,
    pub(super) replicas: Wishes,
}

/// What the new process holds of the old one.
#[derive(Debug)]
struct Predecessor {
    stream: UnixStream,
    /// The first process of a container, if the predecessor was not that itself.
    keeper: Option<UnixStream>,
}

/// What the old process holds of the new one.
#[derive(Debug)]
struct Successor {
    stream: UnixStream,
    pid: i32,
}

/// Why no process could be taken over from.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// The configuration names no socket.
    #[error("the configuration has no `upgrade_socket`, so there is nobody to take over from")]
    NoSocket,
    /// Nobody listens there, or it does not speak as it should.
    #[error("cannot take over from the Weir at {path}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl Inherited {
    /// The sockets of a listener that is configured at `bind`, whatever its name: only where
    /// the kernel chose the port, several may have the same. None are left for the next call.
    pub(super) fn take(&mut self, id: &ListenerId, bind: SocketAddr) -> Option<Vec<TcpListener>> {
        let is_it = |(name, addr, _): &(ListenerId, SocketAddr, _)| {
            *addr == bind && (name == id || bind.port() != 0)
        };
        let at = self.listeners.iter().position(is_it)?;
        let (_, _, sockets) = self.listeners.swap_remove(at);
        (!sockets.is_empty()).then_some(sockets)
    }

    /// The socket of the admin listener, if it is configured at `bind`.
    pub(super) fn take_admin(&mut self, bind: SocketAddr) -> Option<TcpListener> {
        let (_, socket) = self.admin.take_if(|(addr, _)| *addr == bind)?;
        Some(socket)
    }

    /// With how many replicas groups that scale begin: as many as they had come to, for the
    /// load that made it so many comes along with the sockets. What an engine runs goes on
    /// anyway, and a process that has never seen it does not know how many it is.
    pub(super) fn wishes(&mut self, config: &Config) -> Wishes {
        let mut left = std::mem::take(&mut self.replicas);
        let groups = config.target_groups.iter();
        let scaled = groups.filter_map(|group| group.autoscaling.as_ref().map(|_| group));
        let is_own = |group: &&TargetGroup| {
            let replicas = group.replicas.as_ref();
            replicas.is_some_and(|replicas| replicas.runner.is_own())
        };
        let own = scaled.filter(is_own);
        // Bounds, those of the schedule too, are the autoscaler's business.
        own.filter_map(|group| left.remove_entry(&group.id))
            .collect()
    }

    fn add(&mut self, id: ListenerId, bind: SocketAddr, descriptors: Vec<OwnedFd>) {
        let sockets = descriptors.into_iter().map(TcpListener::from);
        match self.listeners.iter_mut().find(|(name, ..)| *name == id) {
            Some((_, _, known)) => known.extend(sockets),
            None => self.listeners.push((id, bind, sockets.collect())),
        }
    }
}

/// Asks the process that listens at `path` for its sockets. Blocks.
fn take_over(path: &Path) -> Result<(Inherited, Predecessor), TakeOverError> {
    let failed = |source| TakeOverError::Io {
        path: path.to_owned(),
        source,
    };
    let stream = UnixStream::connect(path).map_err(failed)?;
    let taken = take_from(&stream).map_err(failed)?;
    let (inherited, keeper) = taken;
    Ok((inherited, Predecessor { stream, keeper }))
}

fn take_from(stream: &UnixStream) -> io::Result<(Inherited, Option<UnixStream>)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut inherited = Inherited::default();
    let mut keeper = None;
    loop {
        let (word, mut descriptors) = hear(stream)?;
        match word {
            Word::Listener(name, bind) => inherited.add(name.as_str().into(), bind, descriptors),
            Word::Admin(bind) => {
                let socket = descriptors.pop().map(TcpListener::from);
                inherited.admin = socket.map(|socket| (bind, socket));
            }
            Word::Replicas(group, count) => {
                let group = group.as_str().into();
                inherited.replicas.insert(group, count);
            }
            Word::Keeper => keeper = descriptors.pop().map(UnixStream::from),
            Word::Done => return Ok((inherited, keeper)),
            Word::Serving(_) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Predecessor {
    /// Tells it, and the keeper if there is one, that this process serves.
    fn serving(&self) -> io::Result<()> {
        let word = Word::Serving(std::process::id().cast_signed());
        if let Some(keeper) = &self.keeper {
            // Outside of a container it has ended long ago.
            let _ = say(keeper, &word, &[]);
        }
        say(&self.stream, &word, &[])
    }

    /// The connection that a keeper hears the end of its successors on: the predecessor
    /// may have become one.
    fn keeper(&self) -> &UnixStream {
        self.keeper.as_ref().unwrap_or(&self.stream)
    }
}

/// Listens for a new process, for nobody but the user Weir runs as.
fn listen(path: &Path) -> io::Result<UnixListener> {
    // Beside the old socket and over it: there is always one to connect to.
    let next = path.with_extension(format!("{}.next", std::process::id()));
    match std::fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&next)?;
    std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&next, path)?;
    Ok(listener)
}

/// Gives a new process the sockets and waits until it serves. Blocks; fails when the
/// process gives up or ends before that.
fn hand_over(
    stream: UnixStream,
    estate: &Estate,
    keeper: Option<&UnixStream>,
) -> io::Result<Successor> {
    stream.set_write_timeout(Some(PATIENCE))?;
    for (id, bind, sockets) in &estate.listeners {
        for sockets in sockets.chunks(MOST_DESCRIPTORS) {
            let descriptors: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
            say(
                &stream,
                &Word::Listener(id.to_string(), *bind),
                &descriptors,
            )?;
        }
    }
    if let Some((bind, socket)) = &estate.admin {
        say(&stream, &Word::Admin(*bind), &[socket.as_fd()])?;
    }
    for (group, count) in &estate.replicas {
        say(&stream, &Word::Replicas(group.to_string(), *count), &[])?;
    }
    if let Some(keeper) = keeper {
        say(&stream, &Word::Keeper, &[keeper.as_fd()])?;
    }
    say(&stream, &Word::Done, &[])?;
    match hear(&stream)? {
        (Word::Serving(pid), _) => Ok(Successor { stream, pid }),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

impl Successor {
    /// Waits for the end of the last successor, and tells each one by its process id.
    /// Blocks.
    fn outlive(&self, mut serves: impl FnMut(Option<Pid>)) {
        serves(Pid::from_raw(self.pid));
        while let Ok((Word::Serving(pid), _)) = hear(&self.stream) {
            serves(Pid::from_raw(pid));
        }
    }
}

/// Something an upgrade asks of the daemon.
#[derive(Debug)]
pub(super) enum Event {
    /// A new process wants the sockets.
    Asked(UnixStream),
    /// A new process has them and serves.
    Replaced,
}

/// The daemon's side of upgrades: whom it took over from, who may take over from it.
#[derive(Debug, Default)]
pub(super) struct Upgrades {
    predecessor: Option<Arc<Predecessor>>,
    /// Where new processes ask, and the socket there.
    offer: Option<(PathBuf, UnixListener)>,
    /// The one that asked and does not serve yet.
    asking: Option<JoinHandle<io::Result<Successor>>>,
    successor: Option<Successor>,
}

impl Upgrades {
    /// The sockets of the process that runs now. Blocks.
    pub(super) fn take_over(&mut self, path: Option<&Path>) -> Result<Inherited, TakeOverError> {
        let (inherited, predecessor) = take_over(path.ok_or(TakeOverError::NoSocket)?)?;
        self.predecessor = Some(Arc::new(predecessor));
        Ok(inherited)
    }

    /// Sends the process before this one into retirement, and offers the sockets to the
    /// next one.
    pub(super) fn serving(&mut self, path: Option<&Path>) {
        self.listen(path);
        if let Some(predecessor) = &self.predecessor {
            info!("taking the place of the Weir that ran before");
            // systemd watches the process it has started; from now on it shall watch this one.
            if let Err(error) = sd_notify::notify(&[NotifyState::MainPid(std::process::id())]) {
                warn!(%error, "cannot tell the service manager which process serves now");
            }
            if let Err(error) = predecessor.serving() {
                warn!(%error, "the Weir that ran before has ended by itself");
            }
        }
    }

    /// Offers the sockets at another place, or no longer.
    pub(super) fn listen(&mut self, path: Option<&Path>) {
        if self.offer.as_ref().map(|(path, _)| path.as_path()) == path {
            return;
        }
        self.offer = None;
        let Some(path) = path else { return };
        match listen(path) {
            Ok(listener) => self.offer = Some((path.to_owned(), listener)),
            Err(error) => {
                let path = path.display();
                error!(%path, %error, "cannot listen for an upgrade");
            }
        }
    }

    /// What happens next. Cancel-safe.
    pub(super) async fn next(&mut self) -> Event {
        tokio::select! {
            stream = asked(self.offer.as_ref()) => Event::Asked(stream),
            successor = serves(&mut self.asking) => {
                info!(pid = successor.pid, "a new process serves in this one's place");
                self.successor = Some(successor);
                Event::Replaced
            }
        }
    }

    /// Gives the sockets to the process that asks, unless another is about to start on them.
    pub(super) fn hand_over(&mut self, stream: UnixStream, estate: io::Result<Estate>) {
        let estate = match estate {
            Ok(_) if self.asking.is_some() => {
                warn!("an upgrade is under way already");
                return;
            }
            Ok(estate) => estate,
            Err(error) => {
                error!(%error, "cannot hand the sockets over");
                return;
            }
        };
        info!("handing the listening sockets over to a new process");
        let predecessor = self.predecessor.clone();
        self.asking = Some(spawn_blocking(move || {
            let keeper = predecessor.as_ref().map(|predecessor| predecessor.keeper());
            hand_over(stream, &estate, keeper)
        }));
    }

    /// Starts the program anew; it asks for the sockets by itself.
    pub(super) fn start_successor(&self, command: fn() -> Command) {
        if self.offer.is_none() {
            error!("cannot be upgraded: the configuration has no `upgrade_socket`");
            return;
        }
        let child = tokio::process::Command::from(command()).spawn();
        match child {
            Ok(mut child) => {
                // Waited for, or it would stay as a zombie when it gives up.
                tokio::spawn(async move {
                    if let Ok(status) = child.wait().await {
                        info!("the new process ended: {status}");
                    }
                });
            }
            Err(error) => error!(%error, "cannot start the new process; this one goes on"),
        }
    }

    /// The end of the first process of a container ends the container: it waits for its
    /// successors and hands its signals on. Any other ends at once.
    pub(super) async fn outlive(self, signals: &mut Signals) {
        let Some(successor) = self.successor.filter(|_| std::process::id() == 1) else {
            return;
        };
        info!("staying as the first process until the new one ends");
        let (tell, current) = watch::channel(None);
        let mut outlived = spawn_blocking(move || {
            successor.outlive(|pid| {
                tell.send_replace(pid);
            });
        });
        loop {
            let signal = tokio::select! {
                _ = &mut outlived => return,
                signal = signals.next() => signal,
            };
            let pid = *current.borrow();
            if let Some(pid) = pid
                && let Err(error) = kill_process(pid, signal)
            {
                warn!(%error, "cannot hand a signal on");
            }
        }
    }
}

/// The next process that asks for the sockets. Cancel-safe.
async fn asked(offer: Option<&(PathBuf, UnixListener)>) -> UnixStream {
    let Some((_, listener)) = offer else {
        return std::future::pending().await;
    };
    loop {
        let accepted = listener.accept().await;
        let stream = accepted.and_then(|(stream, _)| {
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            Ok(stream)
        });
        match stream {
            Ok(stream) => return stream,
            Err(error) => {
                warn!(%error, "cannot accept an upgrade");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// The process that was given the sockets, once it serves. Cancel-safe.
async fn serves(asking: &mut Option<JoinHandle<io::Result<Successor>>>) -> Successor {
    while let Some(task) = asking {
        let outcome = task.await.map_err(io::Error::other).flatten();
        *asking = None;
        match outcome {
            Ok(successor) => return successor,
            Err(error) => warn!(%error, "the new process gave up; this one goes on"),
        }
    }
    std::future::pending().await
}

fn say(
    stream: &UnixStream,
    word: &Word,
    descriptors: &[std::os::fd::BorrowedFd<'_>],
) -> io::Result<()> {
    send(stream, &serde_json::to_vec(word)?, descriptors)
}

fn hear(stream: &UnixStream) -> io::Result<(Word, Vec<OwnedFd>)> {
    let message = receive(stream)?;
    let (text, descriptors) = message.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((serde_json::from_slice(&text)?, descriptors))
}
