//! A network namespace at the end of a cable that can be pulled.

use std::io;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// A pair of interfaces, one of them in a namespace of its own. Removed when dropped.
pub struct Cable {
    pub namespace: String,
    /// The address in the namespace.
    pub far: Ipv4Addr,
    far_end: String,
}

impl Cable {
    /// Lays one in a network for benchmarks (RFC 2544); `number` tells cables of one
    /// process apart. Fails without the right to make namespaces.
    pub fn lay(number: u8) -> io::Result<Self> {
        let id = std::process::id();
        let [_, _, high, low] = id.to_be_bytes();
        let (near, far) = (
            Ipv4Addr::new(198, 18 + high % 2, low, 4 * number + 1),
            Ipv4Addr::new(198, 18 + high % 2, low, 4 * number + 2),
        );
        let near_end = format!("wc{number}a{id}");
        let cable = Self {
            namespace: format!("weir-chaos-{id}-{number}"),
            far,
            far_end: format!("wc{number}b{id}"),
        };
        let (namespace, far_end) = (cable.namespace.as_str(), cable.far_end.as_str());
        ip(&["netns", "add", namespace])?;
        ip(&[
            "link", "add", &near_end, "type", "veth", "peer", "name", far_end,
        ])?;
        ip(&["link", "set", far_end, "netns", namespace])?;
        ip(&["addr", "add", &format!("{near}/30"), "dev", &near_end])?;
        ip(&["link", "set", &near_end, "up"])?;
        cable.inside(&["addr", "add", &format!("{far}/30"), "dev", far_end])?;
        cable.plug_in()?;
        Ok(cable)
    }

    /// From now on nothing gets through, and nobody is told.
    pub fn pull(&self) -> io::Result<()> {
        self.inside(&["link", "set", &self.far_end, "down"])
    }

    pub fn plug_in(&self) -> io::Result<()> {
        self.inside(&["link", "set", &self.far_end, "up"])
    }

    fn inside(&self, arguments: &[&str]) -> io::Result<()> {
        ip(&[&["-n", self.namespace.as_str()], arguments].concat())
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // Takes the interfaces with it. Fails only when it was never made.
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
