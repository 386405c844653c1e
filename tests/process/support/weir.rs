//! Weir as a child process.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use super::{Client, Reply, eventually};

/// Logged when every listener is open.
const READY: &str = "every listener is open";

/// The program, without settings from the environment of the test.
pub fn command() -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_weir")))
}

fn clean(mut command: Command) -> Command {
    for name in ["WEIR_CONFIG", "WEIR_ADMIN", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// A running Weir with a configuration file of its own. Killed when dropped, with all that it
/// has started.
pub struct Weir {
    child: Child,
    stdout: Lines,
    stderr: Lines,
    folder: TempDir,
}

/// The lines that a pipe has carried so far.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn follow(pipe: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let sink = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                sink.0.lock().unwrap().push(line);
            }
        });
        lines
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Weir {
    /// Starts with this configuration, and waits until it serves.
    pub fn start(config: &str) -> Self {
        let weir = Self::starting(config);
        weir.line(&[READY]);
        weir
    }

    /// Starts without waiting.
    pub fn starting(config: &str) -> Self {
        Self::starting_with(config, |_| {})
    }

    /// Like [`Self::starting`], with changes to the command.
    pub fn starting_with(config: &str, adapt: impl FnOnce(&mut Command)) -> Self {
        let mut run = command();
        run.arg("run").arg("--config");
        Self::spawn(run, config, adapt)
    }

    /// Like [`Self::starting`], with at most so many open files; `kind` is `-S` for the soft
    /// limit alone, and empty for both.
    pub fn starting_limited(config: &str, kind: &str, files: u32) -> Self {
        let mut shell = clean(Command::new("sh"));
        let script = format!("ulimit {kind} -n {files}; exec \"$0\" \"$@\"");
        shell.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_weir"));
        shell.arg("run").arg("--config");
        Self::spawn(shell, config, |_| {})
    }

    /// Like [`Self::starting`], of another program.
    pub fn starting_program(program: &std::path::Path, config: &str) -> Self {
        let mut run = clean(Command::new(program));
        run.arg("run").arg("--config");
        Self::spawn(run, config, |_| {})
    }

    /// Starts with arguments alone, and waits until it serves.
    pub fn without_file(arguments: &[&str]) -> Self {
        let mut run = command();
        run.arg("run").args(arguments);
        let weir = Self::begin(run, tempfile::tempdir().unwrap());
        weir.line(&[READY]);
        weir
    }

    fn spawn(mut run: Command, config: &str, adapt: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weir.toml");
        std::fs::write(&file, config).unwrap();
        run.arg(&file);
        adapt(&mut run);
        Self::begin(run, folder)
    }

    fn begin(mut run: Command, folder: TempDir) -> Self {
        run.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = run.spawn().unwrap();
        let stdout = Lines::follow(child.stdout.take().unwrap());
        let stderr = Lines::follow(child.stderr.take().unwrap());
        Self {
            child,
            stdout,
            stderr,
            folder,
        }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("weir.toml")
    }

    /// Replaces the file in one step, as editors and orchestrators do.
    pub fn replace(&self, config: &str) {
        let next = self.folder.path().join("weir.toml.next");
        std::fs::write(&next, config).unwrap();
        std::fs::rename(next, self.file()).unwrap();
    }

    /// Writes to the existing file.
    pub fn overwrite(&self, config: &str) {
        std::fs::write(self.file(), config).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// The log lines so far that contain all of `parts`.
    pub fn lines(&self, parts: &[&str]) -> Vec<String> {
        let mut lines = self.stdout.all();
        lines.retain(|line| parts.iter().all(|part| line.contains(part)));
        lines
    }

    /// All of standard output so far.
    pub fn log(&self) -> Vec<String> {
        self.stdout.all()
    }

    /// All of standard error so far.
    pub fn errors(&self) -> String {
        self.stderr.all().join("\n")
    }

    /// Waits for a log line that contains all of `parts`.
    pub fn line(&self, parts: &[&str]) -> String {
        self.nth_line(1, parts)
    }

    /// Waits for the `n`th log line that contains all of `parts`, counted from 1.
    pub fn nth_line(&self, n: usize, parts: &[&str]) -> String {
        eventually(&format!("line {n} with {parts:?}"), || {
            let found = self.lines(parts).into_iter().nth(n - 1);
            found.ok_or_else(|| format!("{}\n{}", self.log().join("\n"), self.errors()))
        })
    }

    /// Waits until standard error contains `part`.
    pub fn error(&self, part: &str) -> String {
        eventually(&format!("{part:?} on standard error"), || {
            let errors = self.errors();
            if errors.contains(part) {
                Ok(errors)
            } else {
                Err(format!("{}\n{errors}", self.log().join("\n")))
            }
        })
    }

    /// The address of the first listener by name, once all are open.
    pub fn addr(&self) -> SocketAddr {
        self.line(&[READY]);
        let lines = self.lines(&["listening on http://"]);
        let name = |line: &&String| line.rsplit_once('(').map(|(_, name)| name.to_owned());
        address(lines.iter().min_by_key(name).unwrap())
    }

    /// The address of a listener by its name, once it is open.
    pub fn addr_of(&self, name: &str) -> SocketAddr {
        address(&self.line(&["listening on http://", &format!("({name})")]))
    }

    pub fn admin_addr(&self) -> SocketAddr {
        address(&self.line(&["admin on http://"]))
    }

    /// Sends a GET request on a new connection.
    pub fn get(&self, path: &str) -> Reply {
        Client::connect(self.addr()).get(path).unwrap()
    }

    /// `/api/v1/status` of the admin listener.
    pub fn status(&self) -> serde_json::Value {
        let reply = Client::connect(self.admin_addr()).get("/api/v1/status");
        serde_json::from_str(&reply.unwrap().body).unwrap()
    }

    /// `/api/v1/autoscaling` of the admin listener.
    pub fn autoscaling(&self) -> serde_json::Value {
        let path = "/api/v1/autoscaling?last=100";
        let reply = Client::connect(self.admin_addr()).get(path);
        serde_json::from_str(&reply.unwrap().body).unwrap()
    }

    /// The targets of a group in `/api/v1/status`.
    pub fn targets(&self, group: &str) -> Vec<serde_json::Value> {
        let status = self.status();
        let groups = status["target_groups"].as_array().unwrap();
        let found = groups.iter().find(|found| found["name"] == group).unwrap();
        found["targets"].as_array().unwrap().clone()
    }

    /// The processes that Weir has started, without its guardian.
    pub fn children(&self) -> Vec<u32> {
        let mut pids = self.all_children();
        pids.retain(|pid| !is_guardian(*pid));
        pids
    }

    /// The guardian process, if there is one.
    pub fn guardian(&self) -> Option<u32> {
        self.all_children()
            .into_iter()
            .find(|pid| is_guardian(*pid))
    }

    fn all_children(&self) -> Vec<u32> {
        let pid = self.pid();
        let path = format!("/proc/{pid}/task/{pid}/children");
        let children = std::fs::read_to_string(path).unwrap_or_default();
        children
            .split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect()
    }

    /// Waits for the end. Returns the exit code, or 128 plus the signal.
    pub fn end(&mut self) -> i32 {
        let status: ExitStatus = eventually("the end of weir", || {
            let ended = self.child.try_wait().unwrap();
            ended.ok_or_else(|| self.log().join("\n"))
        });
        status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

#[allow(clippy::print_stdout, reason = "shown with the panic that it explains")]
impl Drop for Weir {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("log of weir:\n{}\n{}", self.log().join("\n"), self.errors());
        }
    }
}

/// Whether a process is, or is about to become, a guardian.
fn is_guardian(pid: u32) -> bool {
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.starts_with("replica-guardian\0")
}

/// Parses the address in `… http://127.0.0.1:8080 (web)`.
fn address(line: &str) -> SocketAddr {
    let (_, rest) = line.split_once("http://").unwrap();
    let end = rest.find([' ', '"']).unwrap_or(rest.len());
    rest[..end].parse().unwrap()
}
