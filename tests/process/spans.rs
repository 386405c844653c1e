//! The spans of requests, at a collector that speaks OTLP.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rustix::process::Signal;

use super::support::{Client, Target, Weir, until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A request that a collector has got.
#[derive(Clone, Debug)]
struct Export {
    head: String,
    body: ExportTraceServiceRequest,
}

impl Export {
    fn spans(&self) -> Vec<Span> {
        let scopes = self
            .body
            .resource_spans
            .iter()
            .flat_map(|of| &of.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

/// Answers each request with the next of its answers; the last one stays.
struct Collector {
    addr: SocketAddr,
    exports: Arc<Mutex<Vec<Export>>>,
}

impl Collector {
    fn answering(answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let exports = Arc::default();
        let kept = Arc::clone(&exports);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Fails if the client closes early, or sends what is no OTLP.
                let _ = answer(stream, &kept, answers);
            }
        });
        Self { addr, exports }
    }

    fn exports(&self) -> Vec<Export> {
        let exports = self.exports.lock();
        exports.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has got so many spans.
    fn spans(&self, count: usize) -> Vec<Span> {
        let spans = || self.exports().iter().flat_map(Export::spans).collect();
        until("spans at the collector", spans, |spans: &Vec<Span>| {
            spans.len() >= count
        })
    }
}

fn answer(stream: TcpStream, kept: &Mutex<Vec<Export>>, answers: &[&str]) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    stream.read_exact(&mut body)?;
    let body = ExportTraceServiceRequest::decode(&body[..])?;
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = answers[kept.len().min(answers.len() - 1)];
    kept.push(Export { head, body });
    let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
    stream.get_mut().write_all(answer.as_bytes())
}

/// A target that keeps the heads of its requests.
fn keeping() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let heads = Arc::default();
    let kept = Arc::clone(&heads);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let kept = Arc::clone(&kept);
            // Fails when the connection ends.
            thread::spawn(move || keep(stream, &kept));
        }
    });
    (addr, heads)
}

fn keep(stream: TcpStream, kept: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while stream.read_line(&mut head)? > 0 {
        if head.ends_with("\r\n\r\n") {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push(std::mem::take(&mut head));
            stream
                .get_mut()
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        }
    }
    Ok(())
}

fn config(targets: &str, otlp: &str) -> String {
    format!(
        r#"
        workers = 1
        admin = {{ bind = "127.0.0.1:0" }}
        shutdown = {{ lame_duck = "0s", drain = "1s" }}
        [tracing]
        traceparent = "any"
        [tracing.otlp]
        {otlp}
        [[listener]]
        name = "web"
        bind = "127.0.0.1:0"
        forward = "api"
        [[listener.rule]]
        priority = 7
        when = {{ path = "/dead" }}
        then = {{ forward = "dead" }}
        [target_group.api]
        targets = {targets}
        health = false
        [target_group.dead]
        targets = ["127.0.0.1:1"]
        health = false
        retry = false
        "#
    )
}

fn endpoint(addr: SocketAddr) -> String {
    format!("endpoint = \"http://{addr}/v1/traces\"")
}

fn attribute<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|one| one.key == name)?;
    found.value.as_ref()?.value.as_ref()
}

fn text(span: &Span, name: &str) -> String {
    match attribute(&span.attributes, name) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{name}: {other:?}"),
    }
}

fn number(span: &Span, name: &str) -> i64 {
    match attribute(&span.attributes, name) {
        Some(Value::IntValue(number)) => *number,
        other => panic!("{name}: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The value of a counter on the page of metrics.
fn counter(weir: &Weir, name: &str) -> u64 {
    let page = Client::connect(weir.admin_addr()).get("/metrics").unwrap();
    let mut lines = page.body.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value
        .unwrap_or_else(|| panic!("no {name}"))
        .parse()
        .unwrap()
}

#[test]
fn a_request_becomes_a_span_and_its_target_is_told_of_it() {
    let collector = Collector::answering(&["200 OK"]);
    let (target, heads) = keeping();
    let otlp = format!(
        "{}\nservice = \"shop\"\ntoken = \"secret\"\ntoken_field = \"X-Api-Key\"",
        endpoint(collector.addr)
    );
    let weir = Weir::start(&config(&format!("[\"{target}\"]"), &otlp));
    let mut stream = TcpStream::connect(weir.addr()).unwrap();
    let request = format!(
        "GET /a?b=c HTTP/1.1\r\nHost: shop.example\r\nTraceparent: 00-{TRACE}-{PARENT}-01\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();

    let spans = collector.spans(1);
    let span = &spans[0];
    assert_eq!(
        (hex(&span.trace_id), hex(&span.parent_span_id)),
        (TRACE.into(), PARENT.into())
    );
    let told = heads.lock().unwrap()[0].to_ascii_lowercase();
    let expected = format!("traceparent: 00-{TRACE}-{}-01\r\n", hex(&span.span_id));
    assert!(told.contains(&expected), "{told}: {expected}");
    assert_eq!((span.name.as_str(), span.kind), ("GET", 2));
    assert_eq!(span.status, None);
    assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
    let texts = [
        ("http.request.method", "GET"),
        ("url.scheme", "http"),
        ("url.path", "/a"),
        ("url.query", "b=c"),
        ("server.address", "shop.example"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
        ("weir.listener", "web"),
        ("weir.target_group", "api"),
        ("weir.target", &target.to_string()),
    ];
    for (name, expected) in texts {
        assert_eq!(text(span, name), expected, "{name}");
    }
    assert_eq!(number(span, "http.response.status_code"), 200);
    assert_eq!(number(span, "http.response.body.size"), 2);
    assert_eq!(number(span, "weir.attempts"), 1);

    let export = &collector.exports()[0];
    let head = export.head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(
        head.contains("content-type: application/x-protobuf\r\n"),
        "{head}"
    );
    assert!(head.contains("x-api-key: secret\r\n"), "{head}");
    let resource = export.body.resource_spans[0].resource.as_ref().unwrap();
    let service = Value::StringValue("shop".to_owned());
    assert_eq!(
        attribute(&resource.attributes, "service.name"),
        Some(&service)
    );
    assert_eq!(counter(&weir, "weir_spans_exported_total"), 1);
}

#[test]
fn what_fails_is_an_error_and_what_is_not_sampled_stays() {
    let collector = Collector::answering(&["200 OK"]);
    let (target, _) = keeping();
    let otlp = format!("{}\nsample = 0", endpoint(collector.addr));
    let weir = Weir::start(&config(&format!("[\"{target}\"]"), &otlp));
    let ask = |path: &str, flags: &str| {
        let mut stream = TcpStream::connect(weir.addr()).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nTraceparent: 00-{TRACE}-{PARENT}-{flags}\r\n\
             Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    };
    weir.get("/begun-here");
    ask("/not-sampled", "00");
    ask("/dead", "01");
    let spans = collector.spans(1);
    assert_eq!(spans.len(), 1, "{spans:?}");
    let span = &spans[0];
    assert_eq!(text(span, "url.path"), "/dead");
    assert_eq!(number(span, "http.response.status_code"), 502);
    assert_eq!(number(span, "weir.rule"), 7);
    assert_eq!(span.status.as_ref().unwrap().code, 2);
    assert_eq!(
        text(span, "error.type"),
        span.status.as_ref().unwrap().message
    );
}

#[test]
fn a_collector_that_asks_to_wait_gets_the_same_spans_again() {
    let collector = Collector::answering(&["503 Busy\r\nRetry-After: 0", "200 OK"]);
    let target = Target::named("a");
    let addr = target.addr();
    let weir = Weir::start(&config(&format!("[\"{addr}\"]"), &endpoint(collector.addr)));
    weir.get("/");
    let spans = collector.spans(2);
    assert_eq!(spans[0], spans[1]);
    until(
        "the span is counted",
        || counter(&weir, "weir_spans_exported_total"),
        |count| *count == 1,
    );
    weir.line(&["spans are not exported", "503"]);
    weir.line(&["spans are exported again"]);
    assert_eq!(counter(&weir, "weir_spans_dropped_total"), 0);
}

#[test]
fn a_collector_that_is_gone_slows_nothing_and_what_does_not_fit_is_counted() {
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let target = Target::named("a");
    let addr = target.addr();
    let weir = Weir::start(&config(&format!("[\"{addr}\"]"), &endpoint(gone)));
    let mut client = Client::connect(weir.addr());
    // A queue of 2048, and a batch of 512.
    for _ in 0..3000 {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    until(
        "lost spans",
        || counter(&weir, "weir_spans_dropped_total"),
        |lost| *lost > 0,
    );
    weir.line(&["spans are not exported"]);
    let lines = weir.lines(&[
        "spans are not exported",
        &gone.to_string(),
        "Connection refused",
    ]);
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[test]
fn the_last_spans_are_exported_before_the_end() {
    let collector = Collector::answering(&["200 OK"]);
    let target = Target::named("a");
    let addr = target.addr();
    let mut weir = Weir::start(&config(&format!("[\"{addr}\"]"), &endpoint(collector.addr)));
    for _ in 0..3 {
        weir.get("/");
    }
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
    assert_eq!(collector.spans(3).len(), 3);
}
