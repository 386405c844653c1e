//! Completes what the files lack and a configuration needs: a port for each listener, targets for
//! every group, and at least one listener.

use super::files::Files;
use super::group;
use super::plan::{Action, Group, Listener};

/// Most listeners that are made for groups without one.
const MOST: usize = 20;

/// The first port of such listeners.
const FIRST_PORT: u16 = 8080;

/// Completes the listeners and groups, with a note about each addition.
pub(super) fn add(files: &Files<'_>, listeners: &mut Vec<Listener>, groups: &mut [Group]) {
    for group in groups.iter_mut() {
        let is_served = group.service.is_some() || !group.targets.is_empty();
        if is_served || !group.placeholders.is_empty() {
            continue;
        }
        group.placeholders.push(group::short_name(&group.name));
        let message = "nothing in these files has targets for it: a placeholder stands for them";
        files.remark(&group.address, message);
    }
    if listeners.is_empty() {
        for (group, port) in groups.iter().take(MOST).zip(FIRST_PORT..) {
            let message = format!(
                "no listener of these files leads to it: one on 127.0.0.1:{port} stands for it"
            );
            files.remark(&group.address, &message);
            let mut listener = Listener::closed("a listener", group.name.clone(), port);
            listener.default = Action::Forward {
                groups: vec![(group.name.clone(), 1)],
                sticky: None,
            };
            listeners.push(listener);
        }
    }
    if let (true, Some(balancer)) = (listeners.is_empty(), files.first("aws_lb")) {
        let message = format!(
            "no listener of these files belongs to it: one on 127.0.0.1:{FIRST_PORT} answers with 503 until it has an action"
        );
        files.remark(balancer, &message);
        let name = group::short_name(balancer);
        listeners.push(Listener::closed("a listener", name, FIRST_PORT));
    }
    if listeners.is_empty() {
        let message = "no listener that Weir could be: the result serves no requests yet";
        files.remark("the files", message);
    }
    assign_ports(files, listeners);
}

/// Gives listeners with the same port different ones: on AWS each load balancer has its own
/// addresses, here they share those of one machine.
fn assign_ports(files: &Files<'_>, listeners: &mut [Listener]) {
    for n in 1..listeners.len() {
        let (before, rest) = listeners.split_at_mut(n);
        let [listener, after @ ..] = rest else {
            continue;
        };
        let taken = |port: u16| {
            let same = before.iter().find(|other| other.own_port() == port)?;
            Some(same.name.clone())
        };
        let Some(other) = taken(listener.port) else {
            continue;
        };
        let mut ports = (1..=9)
            .map(|n| listener.port.wrapping_add(8000 + 100 * (n - 1)))
            .chain(FIRST_PORT..=u16::MAX);
        let is_free = |port: &u16| {
            *port >= 1024 && taken(*port).is_none() && after.iter().all(|a| a.port != *port)
        };
        let Some(port) = ports.find(is_free) else {
            continue;
        };
        listener.other_port = Some(port);
        let message = format!(
            "port {} is taken by the listener `{other}`: it listens on {port}, unless its variable names another address",
            listener.port
        );
        files.remark(&listener.address, &message);
    }
}
