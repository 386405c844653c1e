//! Reads the challenges that are open, whichever Weir has ordered, and lets requests and handshakes
//! see them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use super::store::Store;
use crate::files::Blocking;
use crate::state::Reader;
use crate::tls::{AcmeSettings, Challenge};

/// Between two looks at the state directories.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long an order waits between writing a challenge and telling the authority: every Weir has
/// read it then.
pub(super) const SPREAD_TIME: Duration = Duration::from_millis(2500);

/// How long a file system that does not answer is waited for before the log says so.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Follows the snapshots until the publisher ends.
pub(super) async fn follow(mut reader: Reader) {
    let mut known = Vec::new();
    let mut reading = Blocking::default();
    let mut is_late = false;
    loop {
        let folders: BTreeSet<PathBuf> = reader
            .load()
            .config
            .acme()
            .map(AcmeSettings::folder)
            .collect();
        let is_idle = folders.is_empty();
        match reading.run(READ_TIMEOUT, move || read(folders)).await {
            Ok(open) => {
                is_late = false;
                if open != known {
                    reader.load().challenges.replace(&open);
                    known = open;
                }
            }
            Err(late) if !is_late => {
                is_late = true;
                warn!(
                    "the state directory of `acme` cannot be read: {late}; certificate authorities get the last answers"
                );
            }
            Err(_) => {}
        }
        let pause = async {
            if is_idle {
                std::future::pending::<()>().await;
            } else {
                sleep(INTERVAL).await;
            }
        };
        tokio::select! {
            () = pause => {}
            more = reader.changed() => if !more { return },
        }
    }
}

/// Blocks. A folder that cannot be read has none: the one that orders reports it.
fn read(folders: BTreeSet<PathBuf>) -> Vec<Challenge> {
    let stores = folders.into_iter().map(Store::new);
    stores
        .flat_map(|store| store.challenges().unwrap_or_default())
        .collect()
}
