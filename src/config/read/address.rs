//! Addresses to listen on.

use std::net::SocketAddr;

use toml::de::DeValue;

use crate::config::address;
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::model::Endpoint;

/// An IP address and a port to listen on, or a Unix socket.
pub(super) fn endpoint(node: &Node<'_>) -> Option<Endpoint> {
    let unix = match node.value {
        DeValue::String(_) => address::unix(&node.text()?),
        _ => None,
    };
    match unix {
        None => bind(node).map(Endpoint::Address),
        Some(Ok(endpoint)) => Some(endpoint),
        Some(Err(error)) => node.refuse(Code::InvalidValue, error.message, error.help),
    }
}

/// An IP address and a port to listen on.
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
