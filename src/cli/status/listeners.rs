//! The listeners, their certificates and, on request, their rules.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::super::screen::{Screen, Style};
use super::super::table::{Cell, Column, Table, printable};
use super::words::{ago, dash};
use crate::admin::{ListenerStatus, age, between};

/// A row for each listener.
pub(crate) fn listener_table(listeners: &[ListenerStatus]) -> Table<7> {
    let mut table = Table::new([
        Column::from("LISTENER"),
        Column::from("BIND"),
        Column::ranked("PROTOCOL", 2),
        Column::from("CONNECTIONS"),
        Column::ranked("WAITING", 1),
        Column::ranked("RULES", 4),
        Column::ranked("DEFAULT ACTION", 3).shrinking_to(14),
    ]);
    for listener in listeners {
        table.row([
            Cell::from(&listener.name),
            Cell::from(listener.bind.to_string()),
            Cell::from(protocol(listener)),
            connections(listener),
            Cell::from(match listener.waiting {
                0 => dash(),
                waiting => waiting.to_string(),
            }),
            Cell::from(listener.rules.to_string()),
            Cell::from(&listener.default_action),
        ]);
    }
    table
}

fn protocol(listener: &ListenerStatus) -> String {
    let has_tls = !listener.certificates.is_empty() || !listener.acme.is_empty();
    let tls = if has_tls { " over TLS" } else { "" };
    format!("{}{tls}", listener.protocol)
}

/// `12 of 1000`.
fn connections(listener: &ListenerStatus) -> Cell {
    let (open, most) = (listener.connections, listener.max_connections);
    let style = if open >= most || listener.waiting > 0 {
        Style::Bad
    } else {
        Style::Plain
    };
    Cell::styled(style, format!("{open} of {most}"))
}

/// The rules of each listener in their order, and its default action.
pub(crate) fn rules(listeners: &[ListenerStatus], now: Timestamp, screen: &Screen) -> String {
    let mut text = String::new();
    for listener in listeners {
        let mut table = Table::new([
            Column::from("RULE"),
            Column::from("CONDITIONS").shrinking_to(12),
            Column::ranked("ACTION", 1).shrinking_to(10),
            Column::from("REQUESTS"),
            Column::ranked("LAST", 2),
        ]);
        for rule in &listener.rule_hits {
            let priority = rule.priority.map(|priority| priority.to_string());
            table.row([
                priority.unwrap_or_else(|| "default".to_owned()),
                rule.conditions.join(", "),
                rule.action.clone(),
                rule.hits.to_string(),
                ago(rule.last_hit, now),
            ]);
        }
        // Writing into a String does not fail.
        let _ = write!(text, "\n{}\n", printable(&listener.name));
        text.push_str(&table.render_on(screen, "  "));
    }
    text
}

pub(crate) fn certificates(
    listeners: &[ListenerStatus],
    now: Timestamp,
    screen: &Screen,
) -> String {
    let mut table = Table::new([
        Column::from("CERTIFICATE").shrinking_to(16),
        Column::ranked("LISTENER", 1),
        Column::from("HOSTS").shrinking_to(12),
        Column::from("EXPIRES"),
    ]);
    for listener in listeners {
        for certificate in &listener.certificates {
            let style = if certificate.expires <= now {
                Style::Bad
            } else {
                Style::Plain
            };
            table.row([
                Cell::from(&certificate.file),
                Cell::from(&listener.name),
                Cell::from(certificate.names.join(" ")),
                Cell::styled(style, expiry(certificate.expires, now)),
            ]);
        }
    }
    if table.is_empty() {
        return String::new();
    }
    format!("\n{}", table.render_on(screen, ""))
}

pub(crate) fn acme(listeners: &[ListenerStatus], now: Timestamp, screen: &Screen) -> String {
    let mut table = Table::new([
        Column::from("ACME"),
        Column::ranked("LISTENER", 2),
        Column::from("STATE"),
        Column::ranked("NEXT TRY", 1),
        Column::from("FAILURES"),
        Column::from("LAST ERROR").shrinking_to(12),
    ]);
    for listener in listeners {
        for acme in &listener.acme {
            table.row([
                acme.domain.clone(),
                listener.name.clone(),
                acme.state.clone(),
                format!("in {}", age(between(now, acme.next_try))),
                acme.failures.to_string(),
                acme.last_error.clone().unwrap_or_else(dash),
            ]);
        }
    }
    if table.is_empty() {
        return String::new();
    }
    format!("\n{}", table.render_on(screen, ""))
}

/// `2026-12-24, in 25d`, or `2026-11-24, EXPIRED`.
fn expiry(expires: Timestamp, now: Timestamp) -> String {
    let day = expires.strftime("%Y-%m-%d");
    if expires <= now {
        return format!("{day}, EXPIRED");
    }
    format!("{day}, in {}", age(between(now, expires)))
}
