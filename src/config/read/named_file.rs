//! A file that a key names, read with the configuration.

use std::path::Path;

use crate::config::node::Node;
use crate::config::problem::Code;

/// The path, and what the file holds.
pub(super) fn read(node: &Node<'_>) -> Option<(String, Vec<u8>)> {
    let path = node.text()?;
    match (node.cx.around.files)(Path::new(&path)) {
        Ok(bytes) => Some((path, bytes)),
        Err(error) => {
            let message = format!("cannot read `{path}`: {error}");
            let help = "a relative path starts at the folder of this file, and Weir must be allowed to read it";
            node.refuse(Code::Unreadable, message, help)
        }
    }
}
