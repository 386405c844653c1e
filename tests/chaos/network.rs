//! A network namespace behind a link that can be taken down.

use std::io;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// A pair of interfaces, one of them in a namespace of its own. Removed when dropped.
pub struct Link {
    pub namespace: String,
    /// The address in the namespace.
    pub far: Ipv4Addr,
    far_end: String,
}

impl Link {
    /// Makes one in the network for benchmarks (RFC 2544); `number` is unique in this process.
    /// Fails without the right to make namespaces.
    pub fn new(number: u8) -> io::Result<Self> {
        let id = std::process::id();
        let [_, _, high, low] = id.to_be_bytes();
        let (near, far) = (
            Ipv4Addr::new(198, 18 + high % 2, low, 4 * number + 1),
            Ipv4Addr::new(198, 18 + high % 2, low, 4 * number + 2),
        );
        let near_end = format!("wc{number}a{id}");
        let link = Self {
            namespace: format!("weir-chaos-{id}-{number}"),
            far,
            far_end: format!("wc{number}b{id}"),
        };
        let (namespace, far_end) = (link.namespace.as_str(), link.far_end.as_str());
        ip(&["netns", "add", namespace])?;
        ip(&[
            "link", "add", &near_end, "type", "veth", "peer", "name", far_end,
        ])?;
        ip(&["link", "set", far_end, "netns", namespace])?;
        ip(&["addr", "add", &format!("{near}/30"), "dev", &near_end])?;
        ip(&["link", "set", &near_end, "up"])?;
        link.inside(&["addr", "add", &format!("{far}/30"), "dev", far_end])?;
        link.up()?;
        Ok(link)
    }

    /// Takes the link down: packets are lost without an error on either side.
    pub fn down(&self) -> io::Result<()> {
        self.inside(&["link", "set", &self.far_end, "down"])
    }

    pub fn up(&self) -> io::Result<()> {
        self.inside(&["link", "set", &self.far_end, "up"])
    }

    fn inside(&self, arguments: &[&str]) -> io::Result<()> {
        ip(&[&["-n", self.namespace.as_str()], arguments].concat())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Removes the interfaces as well. Fails only if the namespace was never made.
        let _ = ip(&["netns", "del", &self.namespace]);
    }
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!(
        "ip {}: {error}",
        arguments.join(" ")
    )))
}
