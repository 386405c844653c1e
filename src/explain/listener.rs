//! Which listener gets a request of which the URL is known.

use std::sync::Arc;

use super::question::{Origin, QuestionError};
use crate::config::{self, Config};
use crate::model::Protocol;
use crate::state::{CompiledListener, Snapshot};

/// A listener, and why it is the one.
#[derive(Clone, Debug)]
pub(super) struct Found<'s> {
    pub(super) listener: &'s Arc<CompiledListener>,
    pub(super) config: &'s config::Listener,
    pub(super) why: String,
}

/// The listener of this name, or else the one that the URL leads to: by its port, or as the only one
/// that speaks so, because a container or a balancer may show another port.
pub(super) fn find<'s>(
    snapshot: &'s Snapshot,
    name: Option<&str>,
    url: Option<&Origin>,
) -> Result<Found<'s>, QuestionError> {
    let (config, why) = choose(&snapshot.config, name, url)?;
    let mut compiled = snapshot.listeners();
    let listener = compiled.find(|one| one.id == config.id);
    let listener = listener.ok_or(QuestionError::None)?;
    Ok(Found {
        listener,
        config,
        why,
    })
}

fn choose<'c>(
    config: &'c Config,
    name: Option<&str>,
    url: Option<&Origin>,
) -> Result<(&'c config::Listener, String), QuestionError> {
    let all: Vec<_> = config.listeners.iter().collect();
    if let Some(name) = name {
        let named = all.iter().find(|one| &*one.id.0 == name);
        let unknown = || QuestionError::NoListener {
            name: name.to_owned(),
            known: names(&all),
        };
        return Ok((named.ok_or_else(unknown)?, "it is named".to_owned()));
    }
    let speaks = |one: &&&config::Listener| {
        let is_passed_by = one.protocol == Protocol::Tcp;
        url.is_none_or(|url| one.tls.is_some() == url.is_secure || is_passed_by)
    };
    let of_port = |one: &&&config::Listener| {
        let port = one.bind.address().map(|address| address.port());
        url.is_some_and(|url| port == Some(url.port))
    };
    let scheme = url.map_or("http", |url| if url.is_secure { "https" } else { "http" });
    let port = url.map_or(0, |url| url.port);
    let steps: [(Vec<_>, String); 3] = [
        (
            all.iter().filter(speaks).filter(of_port).collect(),
            format!("it listens on port {port}"),
        ),
        (
            all.iter().filter(speaks).collect(),
            format!("none listens on port {port}, and it is the only one of {scheme}"),
        ),
        (all.iter().collect(), "it is the only one".to_owned()),
    ];
    for (found, why) in steps {
        match *found {
            [] => {}
            [one] if all.len() == 1 => return Ok((one, "it is the only one".to_owned())),
            [one] => return Ok((one, why)),
            [..] => return Err(QuestionError::Ambiguous(list(found.into_iter()))),
        }
    }
    Err(QuestionError::None)
}

fn names(all: &[&config::Listener]) -> String {
    list(all.iter())
}

fn list<'l>(all: impl Iterator<Item = &'l &'l config::Listener>) -> String {
    let names: Vec<String> = all
        .map(|one| format!("`{}` ({})", one.id, one.bind))
        .collect();
    names.join(", ")
}
