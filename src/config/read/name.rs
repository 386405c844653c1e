//! Names of listeners and target groups.

use crate::config::node::Node;
use crate::config::problem::Code;

/// Reports a name that could not stand in a path, a metric label and a log.
pub(super) fn check(name: &str, node: &Node<'_>) {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
        let message = format!("`{name}` is not a name");
        let help = "names are 1 to 64 letters, digits, `-`, `_` and `.`";
        node.error(Code::InvalidValue, message, help);
    }
}
