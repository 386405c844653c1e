//! The tables once more, through a whole Weir: each case comes over a socket, and what is read on
//! the other side of it is what the table says.

use weir::http1::{Decision, Desync, Limits, decide};
use weir::message::Method;

use super::reader::{Message, Reader, meanings};
use super::table::Case;
use super::world::{Act, Reply, Seen, Then, run};
use super::{reference, tables};

const CONFIG: &str = r#"
[[listener]]
bind = "127.0.0.1:0"
forward = "app"
http2 = false
client = { abort_on_close = false }

[target_group.app]
targets = ["{app}"]
health = false
retry = { attempts = 1 }
"#;

/// Fields that Weir adds to messages, or sees to itself.
const OWN: [&[u8]; 8] = [
    // RFC 9110 section 10.1.1: ignored in HTTP/1.0.
    b"Expect",
    // To requests of HTTP/1.0 that have none.
    b"Host",
    b"X-Forwarded-For",
    b"X-Forwarded-Proto",
    b"X-Forwarded-Port",
    b"X-Forwarded-Host",
    b"X-Request-Id",
    b"Date",
];

/// Messages, and why the last one has no end.
type Messages = (Vec<Message>, Option<String>);

/// What the codec alone decides, with the limits of a listener in place of those of the tables.
struct Expected {
    messages: Vec<Message>,
    /// Whether there is one more, which breaks in its body.
    is_broken: bool,
    /// The status of what Weir answers itself at the end.
    status: Option<Vec<u8>>,
}

fn expected_of_requests(case: &Case) -> Expected {
    let mut reader = Reader::of_requests(Limits::REQUEST);
    reader.push(&case.input);
    let decided = reader.end();
    let status = decided.rsplit_once("refused ").map(|(_, refused)| refused);
    let status = status.and_then(|refused| refused.split(' ').nth(1));
    let is_broken = decided.contains("; ");
    let mut expected = Expected {
        messages: without_own(&reader.messages),
        is_broken,
        // RFC 9112 section 8: a server may answer a request that is cut off.
        status: status.or(is_broken.then_some("400")).map(Into::into),
    };
    for (count, parsed) in reader.parsed.iter().enumerate() {
        let own = match decide(Desync::Defensive, parsed.class()) {
            Decision::Reject => Some(b"400"),
            _ if reader.methods[count] == Method::Connect => Some(b"405"),
            _ if has_empty_host(&reader.messages[count..]) => Some(b"400"),
            Decision::ForwardAndClose if expected.messages.len() > count => {
                expected.messages.truncate(count + 1);
                (expected.is_broken, expected.status) = (false, None);
                break;
            }
            _ => None,
        };
        if let Some(own) = own {
            expected.messages.truncate(count);
            (expected.is_broken, expected.status) = (false, Some(own.to_vec()));
            break;
        }
    }
    expected
}

/// RFC 9110 section 4.2.1: such a request means no resource.
fn has_empty_host(messages: &[Message]) -> bool {
    let hosts = messages
        .first()
        .map(|message| reference::values(&message.fields, "host"));
    hosts.is_some_and(|hosts| hosts == [b""])
}

/// Reads messages up to one which has no end.
fn read(
    mut bytes: &[u8],
    next: impl for<'b> Fn(&'b [u8]) -> Result<(Message, &'b [u8]), String>,
) -> Messages {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        match next(bytes) {
            Ok((message, rest)) => {
                messages.push(message);
                bytes = rest;
            }
            Err(fault) => return (without_own(&messages), Some(fault)),
        }
    }
    (without_own(&messages), None)
}

/// Without what Weir adds, and without the choice of a framing that it makes for the next hop.
fn without_own(messages: &[Message]) -> Vec<Message> {
    let mut messages = meanings(messages);
    for message in &mut messages {
        message.fields.retain(|(name, _)| !OWN.contains(&&**name));
        message.is_chunked = false;
    }
    messages
}

/// What came to the targets, in the order of their connections.
fn requests_of(seen: &Seen) -> Messages {
    let (mut all, mut fault) = (Vec::new(), None);
    for bytes in &seen.targets {
        let (messages, cut) = read(bytes, reference::request);
        all.extend(messages);
        fault = fault.or(cut);
    }
    (all, fault)
}

fn check_requests(case: &Case) -> Result<(), String> {
    let expected = expected_of_requests(case);
    let seen = run(CONFIG, &[Act::Send(&case.input)], Vec::new());
    let (requests, fault) = requests_of(&seen);
    let is_cut = fault
        .as_ref()
        .is_some_and(|fault| fault.ends_with("no end"));
    // One whose first bytes are broken already is not sent at all.
    let is_whole = fault.is_none() || is_cut && expected.is_broken;
    if requests != expected.messages || !is_whole {
        let wanted = expected.messages;
        return Err(format!("{requests:?} {fault:?} in place of {wanted:?}"));
    }
    let methods = requests.iter().map(|message| &message.start.0);
    let methods: Vec<_> = methods.map(|name| Method::from_bytes(name)).collect();
    let count = std::cell::Cell::new(0);
    let (responses, fault) = read(&seen.received, |bytes| {
        let at = count.replace(count.get() + 1);
        let method = methods.get(at).copied().unwrap_or(Method::Get);
        reference::response(bytes, method)
    });
    let statuses: Vec<_> = responses
        .into_iter()
        .map(|response| response.start.0)
        .collect();
    let mut wanted = vec![b"200".to_vec(); requests.len()];
    wanted.extend(expected.status);
    if statuses != wanted || fault.is_some() {
        return Err(format!("{statuses:?} {fault:?} in place of {wanted:?}"));
    }
    Ok(())
}

fn check_responses(case: &Case) -> Result<(), String> {
    let mut reader = Reader::of_responses(case.method, Limits::RESPONSE);
    reader.push(&case.input);
    let decided = reader.end();
    let method = match case.method {
        Method::Head => "HEAD",
        // A proxy which is no tunnel answers CONNECT itself.
        Method::Connect => return Ok(()),
        _ => "GET",
    };
    let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
    let reply = Reply {
        bytes: case.input.clone(),
        then: Then::Finish,
    };
    if reader.parsed.last().is_some_and(|parsed| parsed.upgrade) {
        // No 101 is asked for: a response to another request.
        return Ok(());
    }
    let seen = run(CONFIG, &[Act::Send(request.as_bytes())], vec![reply]);
    let (responses, fault) = read(&seen.received, |bytes| {
        reference::response(bytes, case.method)
    });
    let mut expected = without_own(&reader.messages);
    let is_complete = expected
        .last()
        .is_some_and(|last| !last.start.0.starts_with(b"1"));
    if !is_complete && fault.is_none() {
        // Before a byte of it was passed on.
        let own = responses.last().filter(|last| last.start.0 == b"502");
        expected.extend(own.cloned());
    }
    let is_cut = fault
        .as_ref()
        .is_some_and(|fault| fault.ends_with("no end"));
    let is_whole = fault.is_none() || is_cut && !is_complete;
    if responses != expected || !is_whole {
        return Err(format!(
            "{decided}: {responses:?} {fault:?} in place of {expected:?}"
        ));
    }
    Ok(())
}

fn check_all(cases: impl Iterator<Item = Case>, check: impl Fn(&Case) -> Result<(), String>) {
    let wrong: Vec<String> = cases
        .filter_map(|case| {
            let fault = check(&case).err()?;
            let input = case.input.escape_ascii();
            Some(format!(
                "{} ({})\n  {input}\n  {fault}",
                case.name, case.section
            ))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn targets_read_what_the_tables_of_requests_say() {
    check_all(tables::requests(), check_requests);
}

#[test]
fn clients_read_what_the_tables_of_responses_say() {
    check_all(tables::responses(), check_responses);
}
