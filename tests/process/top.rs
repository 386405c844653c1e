//! `weir top` on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::support::{Weir, command, eventually, until};

/// `weir top` on a terminal of its own.
struct Terminal {
    child: Child,
    /// The terminal's side of it, which has its modes.
    side: OwnedFd,
    keyboard: File,
    /// What was written to the terminal so far.
    screen: Arc<Mutex<String>>,
}

fn size(columns: u16) -> Winsize {
    Winsize {
        ws_col: columns,
        ws_row: 30,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Terminal {
    fn show(admin: &str) -> Self {
        let keyboard =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let side = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
        tcsetwinsize(&side, size(100)).unwrap();
        let mut top = command();
        top.args(["top", "--admin", admin]).env("TERM", "xterm");
        top.stdin(Stdio::from(side.try_clone().unwrap()));
        top.stdout(Stdio::from(side.try_clone().unwrap()));
        top.stderr(Stdio::from(side.try_clone().unwrap()));
        let child = top.spawn().unwrap();
        let keyboard = File::from(keyboard);
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut reader, sink) = (keyboard.try_clone().unwrap(), Arc::clone(&screen));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]);
                sink.lock().unwrap().push_str(&text);
            }
        });
        Self {
            child,
            side,
            keyboard,
            screen,
        }
    }

    /// Waits until it has written this, and forgets it.
    fn shows(&self, text: &str) {
        eventually(text, || {
            let mut screen = self.screen.lock().unwrap();
            let found = screen.rfind(text).map(|at| screen.split_off(at));
            found.map(drop).ok_or_else(|| screen.clone())
        });
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.side).unwrap().local_modes;
        !modes.contains(LocalModes::ECHO | LocalModes::ICANON)
    }

    /// Waits for its end, after which the terminal is as it was.
    fn ends(&mut self) {
        let status = eventually("the end of weir top", || {
            self.child
                .try_wait()
                .unwrap()
                .ok_or_else(|| "it runs".to_owned())
        });
        assert_eq!(status.code(), Some(0));
        assert!(!self.is_raw());
        self.shows("\x1b[?1049l");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn weir() -> Weir {
    Weir::start(
        "admin = { bind = \"127.0.0.1:0\" }\nshutdown = { lame_duck = \"0s\" }\n[[listener]]\n\
         name = \"web\"\nbind = \"127.0.0.1:0\"\nfixed_response = { status = 200 }\n",
    )
}

#[test]
fn it_shows_a_weir_survives_its_loss_and_a_resize_and_ends_with_q() {
    let weir = weir();
    let mut terminal = Terminal::show(&weir.admin_addr().to_string());
    terminal.shows("nothing is wrong");
    assert!(terminal.is_raw());
    terminal.press("\t\t");
    terminal.shows("[3 events]");
    tcsetwinsize(&terminal.side, size(60)).unwrap();
    terminal.signal(Signal::WINCH);
    terminal.press("1");
    terminal.shows("[1 overview]");
    drop(weir);
    terminal.shows("cannot connect to");
    terminal.press("q");
    terminal.ends();
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let weir = weir();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut terminal = Terminal::show(&weir.admin_addr().to_string());
        terminal.shows("nothing is wrong");
        until("raw", || terminal.is_raw(), |is_raw| *is_raw);
        terminal.signal(signal);
        terminal.ends();
    }
}

#[test]
fn without_a_terminal_it_says_what_there_is_instead() {
    let output = command().arg("top").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("weir status --watch"), "{said}");
}
