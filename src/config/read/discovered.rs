//! `{ srv = … }` and `{ file = … }` in `targets`: lists that are kept outside of the configuration.

use std::path::PathBuf;

use super::group_port::GroupPort;
use crate::config::address;
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::{Section, exclude_each_other};
use crate::config::types::TargetAddress;

/// The keys of an entry of which one is there.
const KINDS: [&str; 3] = ["address", "srv", "file"];

/// The list that an entry of `targets` names, and its place. Returns `None` if the entry names no
/// list, and `Some(None)` if something is wrong with it.
#[allow(clippy::option_option)] // absent, wrong and right are three cases
pub(super) fn read<'a>(
    section: &Section<'a>,
    port: GroupPort,
) -> Option<Option<(TargetAddress, Node<'a>)>> {
    let given = section.given(&KINDS);
    let Some(first) = given.first() else {
        // A misspelt key has been reported.
        let is_meant = KINDS[1..].iter().any(|key| section.is_meant(key));
        return is_meant.then_some(None);
    };
    exclude_each_other(&given, "write an entry for each of them");
    let address = match first.name() {
        "srv" => srv(first, section),
        "file" => file(first, port),
        _ => return None,
    };
    Some(address.map(|address| (address, first.clone())))
}

fn srv(node: &Node<'_>, section: &Section<'_>) -> Option<TargetAddress> {
    if let Some(weight) = section.get("weight") {
        let message = "`weight` does nothing here: each record of `srv` has its own";
        weight.warn(Code::NoEffect, message, "take it out");
    }
    match address::service(&node.text()?) {
        Ok(name) => Some(TargetAddress::Srv { name }),
        Err(error) => node.refuse(Code::InvalidValue, error.message, error.help),
    }
}

fn file(node: &Node<'_>, port: GroupPort) -> Option<TargetAddress> {
    let text = node.text()?;
    if text.contains('\0') {
        let message = format!("`{}` is no file", text.escape_default());
        return node.refuse(Code::InvalidValue, message, "");
    }
    let port = match port {
        Some(read) => Some(read?),
        None => None,
    };
    Some(TargetAddress::File {
        path: PathBuf::from(text),
        port,
    })
}
