//! What a proxy does with the codec, without sockets: takes bytes as they come, and says what was
//! decided and what goes on.

use weir::http1::{
    Chunked, Framing, Hop, Limits, Parsed, Persistence, Scan, Step, Violation, encode_chunk_end,
    encode_chunk_header, encode_last_chunk, encode_request, encode_response, parse_request,
    parse_response, strip_hop_by_hop,
};
use weir::message::{FieldName, Fields, Method, RequestHead, ResponseHead};

/// Small, so that tables can exceed them.
pub(crate) const LIMITS: Limits = Limits {
    max_head: 512,
    max_fields: 12,
    max_target: 64,
    max_trailers: 100,
    ..Limits::REQUEST
};

/// For responses.
pub(crate) const RESPONSE_LIMITS: Limits = Limits {
    field_names: Limits::RESPONSE.field_names,
    ..LIMITS
};

/// Names and values.
pub(crate) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// A message as it was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Method and target, or status and reason.
    pub(crate) start: (Vec<u8>, Vec<u8>),
    pub(crate) fields: Pairs,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Pairs,
    pub(crate) is_chunked: bool,
}

/// Reads messages of one connection.
pub(crate) struct Reader {
    method: Option<Method>,
    limits: Limits,
    buffer: Vec<u8>,
    scan: Scan,
    request: RequestHead,
    response: ResponseHead,
    body: Option<Body>,
    is_over: bool,
    is_refused: bool,
    current: Message,
    head: Vec<u8>,
    decided: Vec<String>,
    /// What goes on: complete messages, encoded anew.
    pub(crate) output: Vec<u8>,
    pub(crate) messages: Vec<Message>,
    /// Of each complete head.
    pub(crate) parsed: Vec<Parsed>,
    /// Of each request with a complete head.
    pub(crate) methods: Vec<Method>,
}

enum Body {
    Length(u64),
    Chunked(Box<Chunked>),
    UntilClose,
}

impl Reader {
    pub(crate) fn of_requests(limits: Limits) -> Self {
        Self::new(None, limits)
    }

    /// Of responses to requests with this method.
    pub(crate) fn of_responses(method: Method, limits: Limits) -> Self {
        Self::new(Some(method), limits)
    }

    fn new(method: Option<Method>, limits: Limits) -> Self {
        Self {
            method,
            limits,
            buffer: Vec::new(),
            scan: Scan::new(),
            request: RequestHead::new(),
            response: ResponseHead::new(),
            body: None,
            is_over: false,
            is_refused: false,
            current: Message::default(),
            head: Vec::new(),
            decided: Vec::new(),
            output: Vec::new(),
            messages: Vec::new(),
            parsed: Vec::new(),
            methods: Vec::new(),
        }
    }

    /// Takes bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.is_refused {
            return;
        }
        self.buffer.extend_from_slice(bytes);
        let result = self.advance();
        if let Err(violation) = result {
            let Violation { reason } = violation;
            self.record(&format!("refused {} {}", reason.as_str(), reason.status()));
            (self.is_over, self.is_refused) = (true, true);
            self.body = None;
            self.buffer.clear();
        }
    }

    /// The connection ends. Says what was decided: a part for each message.
    pub(crate) fn end(&mut self) -> String {
        match self.body.take() {
            Some(Body::UntilClose) => {
                let rest = std::mem::take(&mut self.buffer);
                self.current.body.extend(rest);
                self.finish(&Fields::new());
            }
            Some(Body::Length(_) | Body::Chunked(_)) => self.record("incomplete"),
            None if !self.is_over && self.scan.has_begun() => self.record("incomplete"),
            None => {}
        }
        if self.method.is_some() && self.is_over && !self.buffer.is_empty() {
            let rest = self.buffer.len();
            self.decided.push(format!("{rest} unsolicited"));
        }
        if self.decided.is_empty() {
            return "nothing".to_owned();
        }
        self.decided.join(" / ")
    }

    fn record(&mut self, what: &str) {
        let is_in_body = !self.head.is_empty();
        match self.decided.last_mut() {
            Some(last) if is_in_body => {
                last.push_str("; ");
                last.push_str(what);
            }
            _ => self.decided.push(what.to_owned()),
        }
    }

    fn advance(&mut self) -> Result<(), Violation> {
        while !self.is_over && !self.buffer.is_empty() {
            let goes_on = if self.body.is_some() {
                self.read_body()?
            } else {
                self.read_head()?
            };
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    fn read_head(&mut self) -> Result<bool, Violation> {
        let (scan, limits) = (&mut self.scan, &self.limits);
        let parsed = match self.method {
            None => parse_request(&self.buffer, scan, limits, &mut self.request)?,
            Some(method) => parse_response(&self.buffer, scan, limits, method, &mut self.response)?,
        };
        let Some(parsed) = parsed else {
            return Ok(false);
        };
        self.parsed.push(parsed);
        self.buffer.drain(..parsed.length);
        self.decided.push(facts(&parsed));
        self.begin(&parsed);
        Ok(true)
    }

    fn begin(&mut self, parsed: &Parsed) {
        let fields = match self.method {
            None => &mut self.request.fields,
            Some(_) => &mut self.response.fields,
        };
        let protocols = fields.get(FieldName::Upgrade).map(<[u8]>::to_vec);
        let stripped = strip_hop_by_hop(fields);
        let hop = Hop {
            persistence: Persistence::Implied,
            upgrade: protocols.as_deref().filter(|_| parsed.upgrade),
            te_trailers: stripped.te_trailers,
        };
        self.head.clear();
        let out = &mut self.head;
        let start = if self.method.is_none() {
            let head = &self.request;
            self.methods.push(head.method());
            encode_request(head, parsed.framing, &hop, out);
            (head.method_name().to_vec(), head.target().to_vec())
        } else {
            let head = &self.response;
            encode_response(head, parsed.framing, &hop, out);
            (
                head.status().to_string().into_bytes(),
                head.reason().to_vec(),
            )
        };
        let fields = match self.method {
            None => &self.request.fields,
            Some(_) => &self.response.fields,
        };
        self.current = Message {
            start,
            fields: pairs(fields),
            is_chunked: parsed.framing == Framing::Chunked,
            ..Message::default()
        };
        self.is_over = match self.method {
            None => !parsed.keep_alive,
            Some(_) => !self.response.is_interim(),
        };
        match parsed.framing {
            Framing::None | Framing::Length(0) => self.finish(&Fields::new()),
            Framing::Length(length) => self.body = Some(Body::Length(length)),
            Framing::Chunked => {
                self.body = Some(Body::Chunked(Box::new(Chunked::new(&self.limits))));
            }
            Framing::UntilClose => self.body = Some(Body::UntilClose),
        }
        if self.body.is_some() {
            // Read on to the end of the body.
            self.is_over = false;
        }
    }

    fn read_body(&mut self) -> Result<bool, Violation> {
        match self.body.as_mut().unwrap() {
            Body::UntilClose => Ok(false),
            Body::Length(left) => {
                let take = self
                    .buffer
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= take as u64;
                let is_complete = *left == 0;
                self.current.body.extend(self.buffer.drain(..take));
                if is_complete {
                    self.complete(&Fields::new());
                }
                Ok(is_complete)
            }
            Body::Chunked(chunked) => match chunked.decode(&self.buffer)? {
                Step::Data(range) => {
                    self.current
                        .body
                        .extend_from_slice(&self.buffer[range.clone()]);
                    self.buffer.drain(..range.end);
                    Ok(true)
                }
                Step::More => {
                    self.buffer.clear();
                    Ok(false)
                }
                Step::End(length) => {
                    let trailers = chunked.take_trailers();
                    self.buffer.drain(..length);
                    self.complete(&trailers);
                    Ok(true)
                }
            },
        }
    }

    fn complete(&mut self, trailers: &Fields) {
        self.body = None;
        self.is_over = match self.method {
            None => !self.parsed.last().unwrap().keep_alive,
            Some(_) => true,
        };
        self.finish(trailers);
    }

    /// The message is complete.
    fn finish(&mut self, trailers: &Fields) {
        self.current.trailers = pairs(trailers);
        self.output.append(&mut self.head);
        let body = &self.current.body;
        if self.current.is_chunked {
            if !body.is_empty() {
                encode_chunk_header(body.len() as u64, &mut self.output);
                self.output.extend_from_slice(body);
                encode_chunk_end(&mut self.output);
            }
            encode_last_chunk(Some(trailers), &mut self.output);
        } else {
            self.output.extend_from_slice(body);
        }
        self.messages.push(std::mem::take(&mut self.current));
    }
}

/// Messages without what concerns one hop or frames: what both ends must agree on.
pub(crate) fn meanings(messages: &[Message]) -> Vec<Message> {
    messages.iter().map(meaning).collect()
}

fn meaning(message: &Message) -> Message {
    const NOT_MEANT: [&str; 9] = [
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
        "http2-settings",
        "trailer",
    ];
    let is_meant = |field: &(Vec<u8>, Vec<u8>)| {
        let name = String::from_utf8_lossy(&field.0).to_lowercase();
        !NOT_MEANT.contains(&name.as_str()) && field != &(b"Host".to_vec(), Vec::new())
    };
    let mut message = message.clone();
    message.fields.retain(is_meant);
    message
}

/// The facts of a head in a fixed order.
fn facts(parsed: &Parsed) -> String {
    let mut facts = vec![match parsed.framing {
        Framing::None => "none".to_owned(),
        Framing::Length(length) => format!("length {length}"),
        Framing::Chunked => "chunked".to_owned(),
        Framing::UntilClose => "until close".to_owned(),
    }];
    if let Some(reason) = parsed.reason {
        facts.push(format!("{} {}", parsed.class().as_str(), reason.as_str()));
    }
    let flags = [
        (!parsed.keep_alive, "close"),
        (parsed.expects_continue, "continue"),
        (parsed.upgrade, "upgrade"),
    ];
    let set = flags.iter().filter(|(is_set, _)| *is_set);
    facts.extend(set.map(|(_, name)| (*name).to_owned()));
    if parsed.dropped_fields > 0 {
        facts.push(format!("dropped {}", parsed.dropped_fields));
    }
    facts.join(", ")
}

/// Names and values of fields.
pub(crate) fn pairs(fields: &Fields) -> Pairs {
    fields
        .iter()
        .map(|field| (field.name.to_vec(), field.value.to_vec()))
        .collect()
}
