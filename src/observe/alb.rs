//! Lines of the access log as AWS's Application Load Balancer writes them, so that what reads those
//! (Athena, Logstash, `GoAccess`) reads these:
//! <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html>.
//!
//! The name of the listener stands for the balancer, that of the target group for its ARN. Bytes are
//! those of bodies. The first line of a request has the host that was asked for, with the port by
//! which the client has come.

use std::time::{Duration, SystemTime};

use super::exchange::{ExchangeFacts, Outcome};
use super::log::{self, PlainLine};
use crate::model::Protocol;

/// Writes a line.
pub(super) fn write(exchange: &ExchangeFacts, elapsed: Duration) {
    let now = SystemTime::now();
    log::access_in_places(|line| add(line, exchange, elapsed, now));
}

/// The fields in their places.
fn add(line: &mut PlainLine<'_>, exchange: &ExchangeFacts, elapsed: Duration, now: SystemTime) {
    line.put(kind(exchange));
    line.space();
    line.iso_time(now);
    line.space();
    line.token(exchange.listener.1.0.as_bytes());
    line.space();
    line.client_and_port(exchange.client, exchange.transport.ports.client);
    line.space();
    line.token(target(exchange).unwrap_or_default());
    times(line, exchange, elapsed);
    numbers(line, exchange);
    request(line, exchange);
    transport(line, exchange);
    line.space();
    line.token(
        exchange
            .group
            .as_ref()
            .map_or(b"", |group| group.0.as_bytes()),
    );
    identity(line, exchange);
    line.space();
    rule(line, exchange);
    line.space();
    line.iso_time(now.checked_sub(elapsed).unwrap_or(now));
    action(line, exchange);
    targets(line, exchange);
    classification(line, exchange);
    // The trace of the connection, and what a transform of the balancer's has made of the request.
    line.put(" - \"-\" \"-\" \"-\"");
}

fn kind(exchange: &ExchangeFacts) -> &'static str {
    let is_secure = exchange.transport.is_secure();
    let switched = exchange.sent_status() == Some(101);
    match (exchange.protocol, is_secure) {
        (Protocol::Http1 | Protocol::Http2, true) if exchange.grpc_status.is_some() => "grpcs",
        (Protocol::Http2, _) => "h2",
        (Protocol::Http1, true) if switched => "wss",
        (Protocol::Http1, false) if switched => "ws",
        (Protocol::Http1, true) => "https",
        (Protocol::Http1, false) => "http",
        (Protocol::Tcp, true) => "tls",
        (Protocol::Tcp, false) => "tcp",
    }
}

fn target(exchange: &ExchangeFacts) -> Option<&[u8]> {
    exchange
        .target
        .as_ref()
        .map(|target| target.address.as_bytes())
}

/// Until the request goes to the target, until the target has answered, and until the client has the
/// response.
fn times(line: &mut PlainLine<'_>, exchange: &ExchangeFacts, elapsed: Duration) {
    let sent = exchange.time_to(exchange.dispatched);
    let answered = exchange.time_to(exchange.answered);
    let between = |from: Option<Duration>, to: Option<Duration>| Some(to?.saturating_sub(from?));
    for time in [
        sent,
        between(sent, answered),
        between(answered, Some(elapsed)),
    ] {
        line.space();
        line.seconds(time);
    }
}

fn numbers(line: &mut PlainLine<'_>, exchange: &ExchangeFacts) {
    line.space();
    line.number_or_hyphen(exchange.sent_status());
    line.space();
    line.number_or_hyphen(exchange.target_status);
    line.space();
    line.number(exchange.received);
    line.space();
    line.number(exchange.sent);
}

fn request(line: &mut PlainLine<'_>, exchange: &ExchangeFacts) {
    let head = exchange.head.as_ref();
    let Some(head) = head.filter(|_| exchange.protocol.is_http()) else {
        return line.put(" \"- - -\" \"-\"");
    };
    let is_secure = exchange.transport.is_secure();
    let host = head.host().unwrap_or_default();
    line.put(" \"");
    line.part(head.method());
    line.put(if is_secure { " https://" } else { " http://" });
    line.part(host);
    if !has_port(host) {
        line.put(":");
        line.number(exchange.transport.ports.local);
    }
    line.part(head.target());
    line.space();
    line.put(head.version(exchange.protocol));
    line.put("\" ");
    line.quoted(head.agent().unwrap_or_default());
}

/// Whether a host has its port with it.
fn has_port(host: &[u8]) -> bool {
    let port = host.iter().rposition(|byte| *byte == b':');
    port.is_some_and(|at| host.iter().skip(at + 1).all(u8::is_ascii_digit))
}

fn transport(line: &mut PlainLine<'_>, exchange: &ExchangeFacts) {
    match &exchange.transport.tls {
        Some(tls) => {
            line.space();
            line.token(tls.session.cipher.as_bytes());
            line.space();
            line.token(tls.session.version.as_bytes());
        }
        None => line.put(" - -"),
    }
}

/// The trace, the host that TLS has asked for, and the certificate, which has no name.
fn identity(line: &mut PlainLine<'_>, exchange: &ExchangeFacts) {
    let tls = exchange.transport.tls.as_ref();
    let sni = tls.and_then(|tls| tls.sni.as_deref()).unwrap_or_default();
    trace(line, exchange);
    line.space();
    line.quoted(sni.as_bytes());
    line.put(" \"-\"");
}

/// The trace as `X-Amzn-Trace-Id` has it, or else the id of that of the W3C.
fn trace(line: &mut PlainLine<'_>, exchange: &ExchangeFacts) {
    let trace = exchange.trace.as_ref();
    match trace.map(|trace| (trace.amazon.as_deref(), trace.id.as_deref())) {
        Some((Some(root), _)) => {
            line.put(" \"Root=");
            line.part(root.as_bytes());
            line.put("\"");
        }
        Some((None, Some(id))) => {
            line.space();
            line.quoted(id.as_bytes());
        }
        Some((None, None)) | None => line.put(" \"-\""),
    }
}

/// The priority of the rule, 0 for the action of the listener itself.
fn rule(line: &mut PlainLine<'_>, exchange: &ExchangeFacts) {
    match (exchange.rule, exchange.outcome) {
        (Some(priority), _) => line.number(priority),
        (None, Some(_)) => line.put("0"),
        (None, None) => line.put("-"),
    }
}

fn action(line: &mut PlainLine<'_>, exchange: &ExchangeFacts) {
    let executed = exchange.outcome.map_or("", Outcome::name);
    line.space();
    line.quoted(executed.as_bytes());
    line.space();
    line.quoted(exchange.location.as_deref().unwrap_or_default().as_bytes());
    line.space();
    line.quoted(exchange.reason().unwrap_or_default().as_bytes());
}

fn targets(line: &mut PlainLine<'_>, exchange: &ExchangeFacts) {
    line.space();
    line.quoted(target(exchange).unwrap_or_default());
    line.put(" \"");
    line.number_or_hyphen(exchange.target_status);
    line.put("\"");
}

fn classification(line: &mut PlainLine<'_>, exchange: &ExchangeFacts) {
    match &exchange.desync {
        Some(desync) => {
            line.put(" \"");
            camel_case(line, desync.class);
            line.put("\" \"");
            camel_case(line, desync.reason);
            line.put("\"");
        }
        None => line.put(" \"-\" \"-\""),
    }
}

/// `get_head_zero_content_length` as `GetHeadZeroContentLength`.
fn camel_case(line: &mut PlainLine<'_>, name: &str) {
    for word in name.split('_') {
        let (first, rest) = word.split_at(word.len().min(1));
        line.put(&first.to_ascii_uppercase());
        line.put(rest);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock;
    use crate::model::{ClientAddress, Failure, ListenerSlot, TargetId, TlsFacts, TlsSession};
    use crate::observe::exchange::{Desync, Ports};
    use crate::observe::log::line_in_places;
    use crate::observe::logged_head::LoggedHead;
    use crate::target::Target;

    const NOW: Duration = Duration::new(1_796_000_000, 42_000);

    fn exchange(protocol: Protocol, listener: &str, client: ClientAddress) -> ExchangeFacts {
        let started = clock::now().into_std();
        let mut exchange = ExchangeFacts::new(
            protocol,
            started,
            (ListenerSlot(0), listener.into()),
            client,
        );
        exchange.transport.ports = Ports {
            client: 2817,
            local: 80,
        };
        exchange
    }

    fn line(exchange: &ExchangeFacts) -> String {
        let now = SystemTime::UNIX_EPOCH + NOW;
        let elapsed = Duration::from_millis(1_250);
        let line = line_in_places(|line| add(line, exchange, elapsed, now));
        String::from_utf8(line).unwrap()
    }

    fn ip(text: &str) -> ClientAddress {
        ClientAddress::Ip(text.parse().unwrap())
    }

    /// The fields of a line: those in quotation marks without them.
    fn fields(line: &str) -> Vec<String> {
        let mut fields = Vec::new();
        let mut rest = line.strip_suffix('\n').expect("one line");
        while !rest.is_empty() {
            let (field, after) = match rest.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').expect("a closing mark"),
                None => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
            };
            fields.push(field.to_owned());
            rest = after.strip_prefix(' ').unwrap_or(after);
        }
        fields
    }

    #[test]
    fn a_forwarded_request_is_written_as_aws_documents_it() {
        let mut exchange = exchange(Protocol::Http1, "app/web", ip("192.168.131.39"));
        let mut head = LoggedHead::new(b"GET", b"/a?b=c", Some(b"www.example.com"));
        head.add_agent(Some(b"curl/7.46.0"), None);
        exchange.head = Some(head);
        exchange.group = Some("my-targets".into());
        exchange.target = Some(Arc::new(Target::new(TargetId {
            group: "my-targets".into(),
            addr: "10.0.0.1:80".parse().unwrap(),
        })));
        exchange.outcome = Some(Outcome::Forward);
        (exchange.status, exchange.target_status) = (Some(200), Some(200));
        exchange.dispatched = Some(exchange.started());
        exchange.answered = Some(exchange.started() + Duration::from_millis(1_048));
        (exchange.received, exchange.sent) = (34, 366);
        exchange.complete = true;
        assert_eq!(
            line(&exchange),
            "http 2026-11-30T00:53:20.000042Z app/web 192.168.131.39:2817 10.0.0.1:80 0.000 1.048 0.202 \
             200 200 34 366 \"GET http://www.example.com:80/a?b=c HTTP/1.1\" \"curl/7.46.0\" - - my-targets \
             \"-\" \"-\" \"-\" 0 2026-11-30T00:53:18.750042Z \"forward\" \"-\" \"-\" \"10.0.0.1:80\" \"200\" \
             \"-\" \"-\" - \"-\" \"-\" \"-\"\n"
        );
    }

    #[test]
    fn tls_and_failures_have_their_places() {
        let mut exchange = exchange(Protocol::Http2, "web", ip("2001:db8::1"));
        exchange.transport.tls = Some(Arc::new(TlsFacts {
            session: TlsSession {
                version: "TLSv1.3",
                cipher: "TLS13_AES_128_GCM_SHA256",
                is_resumed: false,
            },
            sni: Some("a.example".into()),
            alpn: None,
            client: None,
        }));
        exchange.head = Some(LoggedHead::new(b"PUT", b"/", Some(b"a.example:8443")));
        exchange.rule = Some(7);
        exchange.outcome = Some(Outcome::Forward);
        exchange.failure = Some(Failure::NoTarget);
        exchange.desync = Some(Desync {
            class: "ambiguous",
            reason: "both_te_cl_present",
        });
        let fields = fields(&line(&exchange));
        assert_eq!(fields.len(), 33, "{fields:?}");
        let at = |place: usize| fields[place].as_str();
        assert_eq!([at(0), at(3), at(4)], ["h2", "[2001:db8::1]:2817", "-"]);
        assert_eq!([at(5), at(6), at(7)], ["-1", "-1", "-1"]);
        assert_eq!([at(8), at(9)], ["503", "-"]);
        assert_eq!(at(12), "PUT https://a.example:8443/ HTTP/2.0");
        assert_eq!([at(14), at(15)], ["TLS13_AES_128_GCM_SHA256", "TLSv1.3"]);
        assert_eq!([at(18), at(20), at(22)], ["a.example", "7", "forward"]);
        assert_eq!(at(24), Failure::NoTarget.code());
        assert_eq!([at(27), at(28)], ["Ambiguous", "BothTeClPresent"]);
    }

    #[test]
    fn no_client_forges_a_line_or_a_field() {
        const HOSTILE: &[u8] = b"a\" \\\r\nhttp 2026\x1b[31m\xff\x9b\0b";
        let mut exchange = exchange(Protocol::Http1, "a b\n", ClientAddress::Unix);
        let mut head = LoggedHead::new(HOSTILE, HOSTILE, Some(HOSTILE));
        head.add_agent(Some(HOSTILE), Some(HOSTILE));
        exchange.head = Some(head);
        exchange.location = Some(String::from_utf8_lossy(HOSTILE).into());
        exchange.group = Some("a\" b".into());
        let line = line(&exchange);
        assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')));
        let fields = fields(&line);
        assert_eq!(fields.len(), 33, "{line}");
        assert_eq!(fields[2], "a\\x20b\\x0A");
        let escaped = "a\\x22 \\x5C\\x0D\\x0Ahttp 2026\\x1B[31m\\xFF\\x9B\\x00b";
        assert_eq!(fields[13], escaped);
        assert_eq!(fields[16], "a\\x22\\x20b");
    }

    #[test]
    fn a_request_that_was_not_read_has_hyphens() {
        let mut exchange = exchange(Protocol::Http1, "web", ClientAddress::Unix);
        exchange.failure = Some(Failure::MalformedRequest);
        let fields = fields(&line(&exchange));
        let at = |place: usize| fields[place].as_str();
        assert_eq!([at(3), at(12), at(13), at(20)], ["-", "- - -", "-", "-"]);
        assert_eq!(at(8), "400");
    }
}
