//! The folder of one authority and account in the state directory. All of it blocks.
//!
//! | file | holds |
//! |---|---|
//! | `account.json` | the account at the authority, with its key |
//! | `DOMAIN.pem` | key and certificate of a domain: one file, so that they never differ |
//! | `challenges/DOMAIN.json` | what the authority is answered, while it may ask |
//! | `lock` | nothing: the Weir that orders holds its lock |
//!
//! Only the owner can read them. Each is replaced in one step.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use instant_acme::AccountCredentials;
use rustix::fs::{FlockOperation, flock};

use crate::files;
use crate::tls::{Certificate, Challenge};

/// The largest file that is read.
const MAX_BYTES: u64 = 1024 * 1024;

/// A challenge that is older was left by a process that has been killed: no order takes as long.
const CHALLENGE_LIFETIME: Duration = Duration::from_secs(3600);

/// The folder of one authority and account.
#[derive(Clone, Debug)]
pub(super) struct Store(PathBuf);

/// Held by the Weir that orders. The system releases it with the process.
#[derive(Debug)]
pub(super) struct Lock(#[allow(dead_code, reason = "closing the file is what it is for")] File);

impl Store {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Makes the folder, and takes its lock. `None` if another Weir has it.
    pub(super) fn lock(&self) -> io::Result<Option<Lock>> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(self.challenge_folder())?;
        let file = private()
            .create(true)
            .truncate(false)
            .open(self.0.join("lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The account; `None` if there is none.
    pub(super) fn account(&self) -> io::Result<Option<AccountCredentials>> {
        let Some(bytes) = read(&self.account_file())? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| io::Error::other(format!("account.json: {error}")))
    }

    pub(super) fn write_account(&self, account: &AccountCredentials) -> io::Result<()> {
        self.write(&self.account_file(), &serde_json::to_vec(account)?)
    }

    pub(super) fn remove_account(&self) -> io::Result<()> {
        remove(&self.account_file())
    }

    fn account_file(&self) -> PathBuf {
        self.0.join("account.json")
    }

    /// The certificate of a domain; `None` if there is none that can be used.
    pub(super) fn certificate(&self, domain: &str) -> io::Result<Option<Certificate>> {
        let file = self.certificate_file(domain);
        let bytes = read(&file)?;
        let shown = file.display().to_string();
        let read = bytes.and_then(|bytes| Certificate::read(&shown, &bytes, &bytes, None).ok());
        Ok(read.filter(|certificate| certificate.is_for(domain)))
    }

    pub(super) fn write_certificate(&self, domain: &str, pem: &str) -> io::Result<()> {
        self.write(&self.certificate_file(domain), pem.as_bytes())
    }

    fn certificate_file(&self, domain: &str) -> PathBuf {
        self.0.join(format!("{domain}.pem"))
    }

    /// The challenges that are open, in the order of their domains.
    pub(super) fn challenges(&self) -> io::Result<Vec<Challenge>> {
        let entries = match fs::read_dir(self.challenge_folder()) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut open = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension() == Some(OsStr::new("json")) && !is_left_over(&path) {
                let bytes = read(&path)?;
                open.extend(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()));
            }
        }
        open.sort_by(|one: &Challenge, other| one.domain.cmp(&other.domain));
        Ok(open)
    }

    pub(super) fn write_challenge(&self, challenge: &Challenge) -> io::Result<()> {
        let file = self.challenge_file(&challenge.domain);
        self.write(&file, &serde_json::to_vec(challenge)?)
    }

    pub(super) fn remove_challenge(&self, domain: &str) -> io::Result<()> {
        remove(&self.challenge_file(domain))
    }

    fn challenge_folder(&self) -> PathBuf {
        self.0.join("challenges")
    }

    fn challenge_file(&self, domain: &str) -> PathBuf {
        self.challenge_folder().join(format!("{domain}.json"))
    }

    /// Replaces a file in one step; what a crash leaves is the old one or the new one.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let part = self.0.join(format!(".{:016x}.part", fastrand::u64(..)));
        let written = private()
            .create_new(true)
            .open(&part)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&part, path));
        if written.is_err() {
            let _ = fs::remove_file(&part);
            return written;
        }
        File::open(path.parent().unwrap_or(&self.0))?.sync_all()
    }
}

/// For files that only the owner can read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match files::read(path, MAX_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn is_left_over(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|found| found.modified());
    let age = modified.map(|then| SystemTime::now().duration_since(then).unwrap_or_default());
    age.is_ok_and(|age| age > CHALLENGE_LIFETIME)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tls::ChallengeKind;

    #[test]
    fn one_holds_the_lock_and_nothing_is_readable_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("state/issuer"));
        assert_eq!(store.challenges().unwrap(), []);
        let lock = store.lock().unwrap().unwrap();
        assert!(store.lock().unwrap().is_none());
        drop(lock);
        assert!(store.lock().unwrap().is_some());
        let challenge = Challenge {
            kind: ChallengeKind::Http01,
            domain: "site.example".to_owned(),
            token: "token".to_owned(),
            key_authorization: "token.thumb".to_owned(),
        };
        store.write_challenge(&challenge).unwrap();
        assert_eq!(store.challenges().unwrap(), [challenge]);
        let mode = |path: &str| {
            let found = fs::metadata(folder.path().join(path)).unwrap();
            found.permissions().mode() & 0o777
        };
        assert_eq!(mode("state/issuer"), 0o700);
        assert_eq!(mode("state/issuer/challenges/site.example.json"), 0o600);
        assert_eq!(mode("state/issuer/lock"), 0o600);
        store.remove_challenge("site.example").unwrap();
        store.remove_challenge("site.example").unwrap();
        assert_eq!(store.challenges().unwrap(), []);
        let names = fs::read_dir(folder.path().join("state/issuer")).unwrap();
        assert_eq!(names.count(), 2, "no part of a file is left");
    }

    #[test]
    fn a_damaged_certificate_is_none_and_a_damaged_account_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().to_owned());
        assert!(store.certificate("a").unwrap().is_none());
        store.write_certificate("a", "no certificate").unwrap();
        assert!(store.certificate("a").unwrap().is_none());
        assert!(store.account().unwrap().is_none());
        fs::write(folder.path().join("account.json"), "{").unwrap();
        assert!(store.account().is_err());
    }
}
