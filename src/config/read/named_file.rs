//! A file that a key names, read with the configuration.

use std::path::Path;

use crate::config::node::Node;
use crate::config::problem::Code;
use crate::tls::{Authorities, Trust};

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

/// The authorities whose certificates a file holds, in PEM.
pub(super) fn authorities(node: &Node<'_>) -> Option<Trust> {
    let (path, bytes) = read(node)?;
    match Authorities::read(&bytes) {
        Ok(authorities) => Some(Trust::Authorities(authorities)),
        Err(error) => {
            let message = format!("`{path}` cannot be used: {error}");
            let help = "it has to hold one or more certificates of authorities in PEM";
            node.refuse(Code::InvalidValue, message, help)
        }
    }
}
