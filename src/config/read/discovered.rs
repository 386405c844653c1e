//! `{ srv = … }` and `{ file = … }` in `targets`: lists that others keep.

use std::path::PathBuf;

use crate::config::address;
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::config::types::TargetAddress;

/// What a target may be, one of which an entry says.
const KINDS: [&str; 3] = ["address", "srv", "file"];

/// The list that an entry of `targets` names, and where. `None`: it names none; `Some(None)`:
/// something is wrong with it. `port` is the group's as [`super::target_group`] has it.
#[allow(clippy::option_option)] // absent, wrong and right are three cases
pub(super) fn read<'a>(
    section: &Section<'a>,
    port: Option<Option<u16>>,
) -> Option<Option<(TargetAddress, Node<'a>)>> {
    let given: Vec<_> = KINDS.iter().filter_map(|key| section.get(key)).collect();
    let [first, others @ ..] = given.as_slice() else {
        // A misspelt one is reported as that.
        let is_meant = KINDS[1..].iter().any(|key| section.is_meant(key));
        return is_meant.then_some(None);
    };
    for other in others {
        let message = format!(
            "`{}` and `{}` exclude each other",
            first.name(),
            other.name()
        );
        other.error(Code::Conflict, message, "write an entry for each of them");
    }
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
        Err(error) => {
            node.error(Code::InvalidValue, error.message, error.help);
            None
        }
    }
}

#[allow(clippy::option_option)] // as above
fn file(node: &Node<'_>, port: Option<Option<u16>>) -> Option<TargetAddress> {
    let text = node.text()?;
    if text.contains('\0') {
        let message = format!("`{}` is no file", text.escape_default());
        node.error(Code::InvalidValue, message, "");
        return None;
    }
    let port = match port {
        Some(read) => Some(read?),
        None => None,
    };
    let path = PathBuf::from(text);
    Some(TargetAddress::File { path, port })
}
