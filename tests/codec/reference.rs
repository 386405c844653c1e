//! A second parser: strict, slow, and as near to the words of the RFCs as code can be.
//!
//! It reads a whole connection that has ended. It takes nothing that Weir would call acceptable or
//! ambiguous, because it reads what Weir has sent.

use weir::message::Method;

use super::reader::{Message, Pairs};

/// All messages, or what is wrong.
pub(crate) fn requests(mut bytes: &[u8]) -> Result<Vec<Message>, String> {
    let mut messages = Vec::new();
    loop {
        // RFC 9112 section 2.2: empty lines before a request line are ignored.
        while let Some(rest) = bytes.strip_prefix(b"\r\n") {
            bytes = rest;
        }
        if bytes.is_empty() || bytes == b"\r" {
            break;
        }
        let (message, rest) = request(bytes)?;
        messages.push(message);
        bytes = rest;
    }
    Ok(messages)
}

/// The responses to one request: interim ones and the last one, after which nothing follows.
pub(crate) fn responses(mut bytes: &[u8], method: Method) -> Result<Vec<Message>, String> {
    let mut messages = Vec::new();
    loop {
        let (message, rest) = response(bytes, method)?;
        let is_last = !message.start.0.starts_with(b"1") || message.start.0 == b"101";
        messages.push(message);
        bytes = rest;
        if is_last {
            break;
        }
    }
    if bytes.is_empty() {
        Ok(messages)
    } else {
        Err("bytes after the last response".to_owned())
    }
}

/// The first message, and what follows it.
pub(crate) fn request(bytes: &[u8]) -> Result<(Message, &[u8]), String> {
    let (line, fields, rest) = head(bytes)?;
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = parts[..] else {
        return Err(format!("request line: {line}"));
    };
    check(is_token(method.as_bytes()) && method.len() <= 32, "method")?;
    check(version == "HTTP/1.1", "version")?;
    check(is_target(method, target), "target")?;
    let hosts = values(&fields, "host");
    check(hosts.len() == 1 && is_authority(&hosts[0]), "host")?;
    let start = (method.as_bytes().to_vec(), target.as_bytes().to_vec());
    let message = Message {
        start,
        fields,
        ..Message::default()
    };
    body(message, rest, false)
}

/// The first message, and what follows it.
pub(crate) fn response(bytes: &[u8], method: Method) -> Result<(Message, &[u8]), String> {
    let (line, fields, rest) = head(bytes)?;
    let mut parts = line.splitn(3, ' ');
    let (version, status, reason) = (parts.next(), parts.next(), parts.next());
    check(version == Some("HTTP/1.1"), "version")?;
    let status = status.ok_or("status")?;
    let is_status = status.len() == 3 && status.parse::<u16>().is_ok_and(|status| status >= 100);
    check(is_status && !status.starts_with('+'), "status")?;
    let reason = reason.ok_or("reason")?.chars().map(|c| c as u8).collect();
    let message = Message {
        start: (status.as_bytes().to_vec(), reason),
        fields,
        ..Message::default()
    };
    let is_tunnel = method == Method::Connect && status.starts_with('2');
    let is_bodiless = status.starts_with('1') || status == "204";
    if is_tunnel || is_bodiless {
        check(
            values(&message.fields, "content-length").is_empty(),
            "forbidden length",
        )?;
    }
    if method == Method::Head || status == "304" || is_tunnel || is_bodiless {
        return Ok((message, rest));
    }
    body(message, rest, true)
}

/// First line, fields, and what follows the empty line.
fn head(bytes: &[u8]) -> Result<(String, Pairs, &[u8]), String> {
    let end = find(bytes, b"\r\n\r\n").ok_or("a head has no end")?;
    let mut lines = lines(&bytes[..end + 2])?;
    let first = lines.remove(0);
    let first = latin1(&first);
    check(
        first.chars().all(|c| c == '\t' || !c.is_ascii_control()),
        "first line",
    )?;
    Ok((first, fields(&lines)?, &bytes[end + 4..]))
}

/// The lines of a text that ends with one; no CR or LF elsewhere.
fn lines(mut text: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut lines = Vec::new();
    while !text.is_empty() {
        let end = find(text, b"\r\n").ok_or("a line has no end")?;
        let line = &text[..end];
        check(
            !line.contains(&b'\r') && !line.contains(&b'\n'),
            "CR or LF in a line",
        )?;
        lines.push(line.to_vec());
        text = &text[end + 2..];
    }
    Ok(lines)
}

fn fields(lines: &[Vec<u8>]) -> Result<Pairs, String> {
    let mut fields = Vec::new();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').ok_or("colon")?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        check(is_token(name), "name")?;
        check(
            value
                .iter()
                .all(|byte| *byte == b'\t' || !byte.is_ascii_control()),
            "value",
        )?;
        fields.push((name.to_vec(), value.trim_ascii().to_vec()));
    }
    Ok(fields)
}

fn body(mut message: Message, rest: &[u8], is_response: bool) -> Result<(Message, &[u8]), String> {
    let codings = values(&message.fields, "transfer-encoding");
    let lengths = values(&message.fields, "content-length");
    match (&codings[..], &lengths[..]) {
        ([], []) if is_response => {
            message.body = rest.to_vec();
            Ok((message, b""))
        }
        ([], []) => Ok((message, rest)),
        ([], [length]) => {
            let is_canonical = length.iter().all(u8::is_ascii_digit)
                && (length.len() == 1 || !length.starts_with(b"0"));
            check(is_canonical, "length")?;
            let length: usize = latin1(length).parse().map_err(|_| "length")?;
            check(rest.len() >= length, "the body has no end")?;
            message.body = rest[..length].to_vec();
            Ok((message, &rest[length..]))
        }
        ([coding], []) => {
            check(coding.eq_ignore_ascii_case(b"chunked"), "coding")?;
            message.is_chunked = true;
            chunks(message, rest)
        }
        _ => Err("framing".to_owned()),
    }
}

/// Reads a chunked body into a message.
pub(crate) fn chunks(mut message: Message, mut rest: &[u8]) -> Result<(Message, &[u8]), String> {
    loop {
        let end = find(rest, b"\r\n").ok_or("a chunk line has no end")?;
        let digits = &rest[..end];
        check(
            !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit),
            "chunk size",
        )?;
        let size = usize::from_str_radix(&latin1(digits), 16).map_err(|_| "chunk size")?;
        rest = &rest[end + 2..];
        if size == 0 {
            break;
        }
        let is_whole = rest.len().checked_sub(2).is_some_and(|most| size <= most);
        check(is_whole, "a chunk has no end")?;
        message.body.extend_from_slice(&rest[..size]);
        check(rest[size..].starts_with(b"\r\n"), "chunk end")?;
        rest = &rest[size + 2..];
    }
    if let Some(rest) = rest.strip_prefix(b"\r\n") {
        return Ok((message, rest));
    }
    let end = find(rest, b"\r\n\r\n").ok_or("trailers have no end")?;
    message.trailers = fields(&lines(&rest[..end + 2])?)?;
    Ok((message, &rest[end + 4..]))
}

/// RFC 9112 section 3.2, for what is sent to origin servers.
fn is_target(method: &str, target: &str) -> bool {
    let is_text = target
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-._~:/?@!$&'()*+,;=%".contains(c));
    let is_form = match method {
        "CONNECT" => is_authority(target.as_bytes()) && target.contains(':'),
        "OPTIONS" if target == "*" => true,
        _ => target.starts_with('/'),
    };
    (is_text || method == "CONNECT") && is_form
}

/// A host of one of the simple kinds, and perhaps a port.
fn is_authority(text: &[u8]) -> bool {
    let text = latin1(text);
    let (host, port) = match text.rfind(':') {
        Some(colon) if !text.ends_with(']') => text.split_at(colon),
        _ => (&*text, ""),
    };
    let is_host = host.starts_with('[') && host.ends_with(']')
        || host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=%".contains(c));
    is_host && port.chars().skip(1).all(|c| c.is_ascii_digit())
}

/// The values of all fields of a name, in lower case.
pub(crate) fn values(fields: &[(Vec<u8>, Vec<u8>)], name: &str) -> Vec<Vec<u8>> {
    let is_named = |field: &&(Vec<u8>, Vec<u8>)| latin1(&field.0).eq_ignore_ascii_case(name);
    fields
        .iter()
        .filter(is_named)
        .map(|field| field.1.clone())
        .collect()
}

fn is_token(text: &[u8]) -> bool {
    let symbols = b"!#$%&'*+-.^_`|~";
    let is_token_byte = |byte: &u8| byte.is_ascii_alphanumeric() || symbols.contains(byte);
    !text.is_empty() && text.iter().all(is_token_byte)
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

fn check(is_right: bool, what: &str) -> Result<(), String> {
    if is_right {
        Ok(())
    } else {
        Err(what.to_owned())
    }
}

#[test]
fn the_reference_refuses_what_is_known_to_be_wrong() {
    let wrong: [&[u8]; 8] = [
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 05\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell",
    ];
    for bytes in wrong {
        requests(bytes).expect_err(&bytes.escape_ascii().to_string());
    }
}
