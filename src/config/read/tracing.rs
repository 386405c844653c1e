//! `[tracing]`: which traces requests belong to, and where their spans go.

use std::sync::Arc;

use http::Uri;
use http::header::AUTHORIZATION;
use http::uri::Scheme;

use super::{engine, field, named_file, secrets};
use crate::config::keys;
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::config::types::SpanExport;
use crate::model::{Share, TraceContext, Traceparent};
use crate::tls::{Authorities, Trust};

/// What targets are told, and where spans go, if anywhere.
pub(super) fn read(section: &Section<'_>) -> Option<(TraceContext, Option<Arc<SpanExport>>)> {
    let traceparent = section.word("traceparent");
    let amazon = section.flag("amazon");
    let otlp = section.get("otlp");
    if let Some(node) = &otlp
        && traceparent == Traceparent::Off
    {
        let message = "spans belong to traces, and `traceparent` is \"off\"";
        let help =
            "write traceparent = \"trusted\" beside it: targets get the span as their parent";
        node.error(Code::Conflict, message, help);
    }
    let export = match otlp {
        Some(node) => Some(export(&node)?),
        None => None,
    };
    let (share, export) = export.unzip();
    let context = TraceContext {
        traceparent,
        amazon,
        exported: share,
    };
    Some((context, export))
}

fn export(node: &Node<'_>) -> Option<(Share, Arc<SpanExport>)> {
    let section = node.section(&keys::OTLP)?;
    let example = "write that of the collector: endpoint = \"http://127.0.0.1:4318/v1/traces\"";
    let endpoint = section
        .require("endpoint", example)
        .and_then(|node| engine::url(&node, &["http", "https"]));
    let sample = section.get("sample").and_then(|node| node.number());
    let service = section.text("service", Node::text);
    let token = secrets::collector_token(&section);
    let token_field = section.optional("token_field", |node| field::name(&node.text()?, node));
    let timeout = section.duration("timeout");
    let endpoint = endpoint?;
    let trust = if is_https(&endpoint) {
        Some(trust(&section)?)
    } else {
        None
    };
    let share = sample.map_or(Share::ALL, Share::of_one);
    let export = SpanExport {
        endpoint,
        service: service?,
        token,
        token_field: token_field?.unwrap_or(AUTHORIZATION),
        trust,
        timeout,
    };
    Some((share, Arc::new(export)))
}

fn is_https(url: &str) -> bool {
    let uri = url.parse::<Uri>();
    uri.is_ok_and(|uri| uri.scheme() == Some(&Scheme::HTTPS))
}

/// The collector is known by the authorities of the system, or by a file of its own.
fn trust(section: &Section<'_>) -> Option<Trust> {
    let Some(ca) = section.get("ca") else {
        let system = Authorities::of_the_system();
        if system.is_none() {
            let message = "no authority is known by which the collector could be checked";
            let help = "install the system's ca-certificates, or write ca = \"collector.crt\"";
            section.error(Code::MissingKey, "ca", message.to_owned(), help);
        }
        return system.map(Trust::Authorities);
    };
    named_file::authorities(&ca)
}
