//! Addresses to listen on.

use std::net::SocketAddr;

use toml::de::DeValue;

use crate::config::address;
use crate::config::node::Node;
use crate::config::problem::Code;

/// An address to listen on: an IP address and a port.
pub(super) fn bind(node: &Node<'_>) -> Option<SocketAddr> {
    if let DeValue::Integer(port) = node.value {
        let help = address::bind(port.as_str()).err().map(|error| error.help);
        let message = format!("`{}` is an address, not only a port", node.name());
        return node.refuse(Code::WrongType, message, help.unwrap_or_default());
    }
    match address::bind(&node.text()?) {
        Ok(address) => Some(address),
        Err(error) => node.refuse(Code::InvalidValue, error.message, error.help),
    }
}
