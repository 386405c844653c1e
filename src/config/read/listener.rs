//! `[[listener]]` and `[[listener.rule]]`.

use std::collections::HashSet;
use std::num::NonZeroU32;

use ipnet::IpNet;
use toml::de::DeValue;

use super::pattern::Spelling;
use super::{action, address, condition, field, name, overload, tcp, tls};
use crate::config::jump::Jump;
use crate::config::node::Node;
use crate::config::placed::Placed;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::config::span::Mark;
use crate::config::types::{
    AcceptProxy, ClientLimits, Forwarded, ForwardedMode, HttpPolicy, Listener,
};
use crate::config::{defaults, keys, loops, shadow};
use crate::model::{
    Action, ClientAddress, Endpoint, ListenerId, Priority, Protocol, Rule, TargetGroupId,
};

/// Longest name in a `Via` field, bytes: a host name fits.
const MAX_VIA: usize = 64;

pub(super) fn read(node: &Node<'_>) -> Option<Listener> {
    let section = node.section(&keys::LISTENER)?;
    let protocol = section.word("protocol");
    let bind = section
        .require("bind", "write where it listens: bind = \"0.0.0.0:8080\"")
        .and_then(|node| Some((address::endpoint(&node)?, node)));
    if let Some((bind, at)) = &bind {
        node.cx
            .note(|notes| notes.binds.push(at.mark(bind.clone())));
        let is_https = bind.address().is_some_and(|address| address.port() == 443);
        if is_https && protocol == Protocol::Http1 && section.get("tls").is_none() {
            let message = "clients of port 443 speak TLS, and this listener has no `tls`";
            let help = "write tls = { certificates = [{ cert = \"site.crt\", key = \"site.key\" }] }, \
                 or tls = { acme = { domains = [\"site.example\"] } }";
            at.warn(Code::Suspicious, message, help);
        }
    }
    let bind = bind.map(|(bind, _)| bind);
    let id = id(&section, node, bind.as_ref());
    check_socket_mode(&section, bind.as_ref());
    let listener = match protocol {
        Protocol::Http1 | Protocol::Http2 => of_http1(&section, bind, id),
        Protocol::Tcp => of_tcp(&section, bind, id),
    };
    listener.inspect(|listener| check_proxy_protocol(&section, listener))
}

/// A header of the PROXY protocol is believed of trusted proxies alone. Whether a client sends one
/// is known only once it has sent something, for which a TCP connection may wait for ever.
fn check_proxy_protocol(section: &Section<'_>, listener: &Listener) {
    let Some(node) = section.get("proxy_protocol") else {
        return;
    };
    let forwarded = &listener.forwarded;
    if listener.proxy_protocol != AcceptProxy::Off
        && forwarded.trusted_proxies.is_empty()
        && !forwarded.trusts_unix
    {
        let message = "`proxy_protocol` without `trusted_proxies`: no peer may send its header";
        let help = "write forwarded = { trusted_proxies = [\"10.0.0.0/8\"] } with the networks of the proxies";
        node.error(Code::Conflict, message, help);
    }
    if listener.proxy_protocol == AcceptProxy::Optional && listener.protocol == Protocol::Tcp {
        let message = "\"optional\" waits for the client's first bytes, and with protocol \"tcp\" the target may have to speak first";
        node.error(
            Code::Conflict,
            message,
            "write \"required\", and another listener for clients without it",
        );
    }
}

/// A listener that forwards connections: it has no other action, and neither have its rules.
fn of_tcp(
    section: &Section<'_>,
    bind: Option<Endpoint>,
    id: Option<ListenerId>,
) -> Option<Listener> {
    tcp::check_listener(section);
    let tls = section.optional("tls", tls::read);
    let socket_mode = section.optional("socket_mode", mode);
    let forward = section
        .require(
            "forward",
            "write the group that gets the connections: forward = \"NAME\"",
        )
        .and_then(|node| action::forward(&node, Protocol::Tcp));
    let rules = rules(
        section,
        Protocol::Tcp,
        None,
        Spelling::of(&HttpPolicy::default()),
        None,
    );
    let tls = tls?;
    if let (Some(tls), Some(rules)) = (&tls, &rules) {
        tls::check_hosts(section, tls, rules);
    }
    let forwarded = forwarded(section);
    let max_connections = section.count("max_connections");
    let client = section
        .get("client")
        .and_then(|node| node.section(&keys::CLIENT));
    let limits = defaults::TCP_CLIENT;
    let proxy_protocol = section.word("proxy_protocol");
    if proxy_protocol == AcceptProxy::Off {
        tcp::check_head_timeout(section, rules.as_deref().unwrap_or_default());
    }
    Some(Listener {
        client: client.map_or(limits, |client| ClientLimits {
            idle_timeout: client.duration_or("idle_timeout", limits.idle_timeout),
            head_timeout: client.duration("head_timeout"),
            ..limits
        }),
        forwarded: forwarded?,
        http: HttpPolicy::default(),
        id: id?,
        bind: bind?,
        socket_mode: socket_mode?,
        protocol: Protocol::Tcp,
        proxy_protocol,
        tls,
        max_connections,
        rate_limit: None,
        rules: rules?,
        default: Action::Forward(forward?),
    })
}

fn of_http1(
    section: &Section<'_>,
    bind: Option<Endpoint>,
    id: Option<ListenerId>,
) -> Option<Listener> {
    let socket_mode = section.optional("socket_mode", mode);
    let tls = section.optional("tls", tls::read);
    let port = bind.as_ref().map(port);
    let (http, via) = (http_policy(section), section.optional("via", via));
    let spelling = Spelling::of(&http);
    let default = action::read(section, port, &[], spelling);
    let own = own_redirect(section, bind.as_ref(), default.as_ref());
    let rules = rules(section, Protocol::Http1, port, spelling, own.as_ref());
    let tls = tls?;
    if tls.is_none() {
        section.cx.note(|notes| notes.has_plain_http = true);
    }
    if let (Some(tls), Some(rules)) = (&tls, &rules) {
        tls::check_hosts(section, tls, rules);
    }
    let max_connections = section.count("max_connections");
    let rate_limit = overload::rate_limit(section);
    let client = section
        .get("client")
        .and_then(|node| node.section(&keys::CLIENT));
    Some(Listener {
        client: client.map_or(defaults::CLIENT, |section| client_limits(&section)),
        forwarded: forwarded(section)?,
        http: HttpPolicy { via: via?, ..http },
        id: id?,
        bind: bind?,
        socket_mode: socket_mode?,
        protocol: Protocol::Http1,
        proxy_protocol: section.word("proxy_protocol"),
        tls,
        max_connections,
        rate_limit,
        rules: rules?,
        default: default?,
    })
}

/// The port that clients come by. Those of a Unix socket name none, as those of port 80 do.
fn port(bind: &Endpoint) -> u16 {
    bind.address().map_or(80, |address| address.port())
}

/// Warns about the permissions of a file that a port does not have.
fn check_socket_mode(section: &Section<'_>, bind: Option<&Endpoint>) {
    if let Some(node) = section.get("socket_mode")
        && bind.is_some_and(|bind| bind.unix().is_none())
    {
        let message = "`socket_mode` is for Unix sockets, and this listener is on a port";
        let help = "take it out, or write bind = \"unix:/run/weir.sock\"";
        node.warn(Code::NoEffect, message, help);
    }
}

/// Octal digits, as chmod(1) takes them. To connect needs the permission to write (unix(7)).
fn mode(node: &Node<'_>) -> Option<u32> {
    let text = node.text()?;
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(&text, 8).ok();
    if let Some(mode) = mode.filter(|mode| is_octal && *mode <= 0o777) {
        return Some(mode);
    }
    let message = format!("`{}` is not a file mode", text.escape_default());
    let help =
        "write its octal digits: \"0660\" lets the owner and the group connect, \"0666\" all users";
    node.refuse(Code::InvalidValue, message, help)
}

/// The configured name, or the address.
fn id(section: &Section<'_>, node: &Node<'_>, bind: Option<&Endpoint>) -> Option<ListenerId> {
    let Some(at) = section.get("name") else {
        let name = bind?.to_string();
        // Two listeners on one address are reported for the address, except with port 0.
        if bind.is_some_and(Endpoint::is_any_port) {
            node.cx
                .note(|notes| notes.listeners.push(node.mark(name.clone())));
        }
        return Some(ListenerId::from(name.as_str()));
    };
    let name = at.string()?;
    name::check(&name, &at);
    let id = ListenerId::from(name.as_str());
    node.cx.note(|notes| notes.listeners.push(at.mark(name)));
    Some(id)
}

fn client_limits(section: &Section<'_>) -> ClientLimits {
    ClientLimits {
        head_timeout: section.duration("head_timeout"),
        idle_timeout: section.duration("idle_timeout"),
        body_timeout: section.duration("body_timeout"),
        max_head: section.size("max_head"),
        max_fields: section.count("max_fields"),
        max_body: section.get("max_body").and_then(|node| node.size()),
        max_requests: section
            .get("max_requests")
            .and_then(|node| node.count())
            .and_then(NonZeroU32::new),
        abort_on_close: section.flag("abort_on_close"),
        body_min_rate: NonZeroU32::new(section.count("body_min_rate")),
    }
}

/// All of it but the name for `Via`.
fn http_policy(section: &Section<'_>) -> HttpPolicy {
    HttpPolicy {
        desync_mitigation: section.word("desync_mitigation"),
        field_names: section.word("field_names"),
        normalize_path: section.word("normalize_path"),
        encoded_slashes: section.word("encoded_slashes"),
        via: None,
        http2: section.flag("http2"),
    }
}

/// A pseudonym, perhaps with a port (RFC 9110 section 7.6.3). A host is one too, as its characters
/// are those of a token.
fn via(node: &Node<'_>) -> Option<Box<str>> {
    let text = node.text()?;
    let (name, port) = text.split_once(':').unwrap_or((&text, "80"));
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    if (1..=MAX_VIA).contains(&name.len()) && name.bytes().all(is_token) && is_port {
        return Some(text.into());
    }
    let message = format!(
        "`{}` cannot name Weir in a Via field",
        text.escape_default()
    );
    let help = format!(
        "write a name of 1 to {MAX_VIA} letters, digits, `-`, `_` and `.`, without the version: \"weir\""
    );
    node.refuse(Code::InvalidValue, message, help)
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn forwarded(section: &Section<'_>) -> Option<Forwarded> {
    let default = Forwarded::default();
    let Some(node) = section.get("forwarded") else {
        return Some(default);
    };
    let section = node.section(&keys::FORWARDED)?;
    let trusted = section.optional("trusted_proxies", trusted_proxies);
    let identity_headers = section.optional("identity_headers", |node| {
        let names: Vec<_> = node.items().iter().map(field::identity_header).collect();
        names.into_iter().collect()
    });
    let mode = section.word("mode");
    if let Some(node) = section.get("send")
        && mode != ForwardedMode::Append
    {
        let message = "`send` does nothing with this `mode`: Weir adds no fields of its own";
        node.warn(
            Code::NoEffect,
            message,
            "write mode = \"append\", or take `send` out",
        );
    }
    let (trusted_proxies, trusts_unix) = trusted?.unwrap_or_default();
    Some(Forwarded {
        mode,
        trusted_proxies,
        trusts_unix,
        identity_headers: identity_headers?.unwrap_or(default.identity_headers),
        send: section.word("send"),
    })
}

/// The networks, and whether `unix:` is among them.
fn trusted_proxies(node: &Node<'_>) -> Option<(Vec<IpNet>, bool)> {
    let items = node.items();
    let (unix, networks): (Vec<_>, Vec<_>) = items.iter().partition(
        |node| matches!(node.value, DeValue::String(text) if &**text == ClientAddress::UNIX),
    );
    let networks: Vec<_> = networks.into_iter().map(condition::network).collect();
    let networks = networks.into_iter().collect::<Option<_>>()?;
    Some((networks, !unix.is_empty()))
}

/// Where the listener's own redirect leads. Returns `None` if it has none.
fn own_redirect(
    section: &Section<'_>,
    bind: Option<&Endpoint>,
    action: Option<&Action<TargetGroupId>>,
) -> Option<Mark<Jump>> {
    let (Some(bind), Some(Action::Redirect(redirect))) = (bind, action) else {
        return None;
    };
    let node = section.get("redirect")?;
    let jump = Jump::of(redirect);
    if let Some(address) = bind.address() {
        let at = node.mark((address.port(), jump.clone()));
        section.cx.note(|notes| notes.redirects.push(at));
    }
    Some(node.mark(jump))
}

/// The rules, lowest priority first. `own` is the listener's own redirect.
fn rules(
    section: &Section<'_>,
    protocol: Protocol,
    port: Option<u16>,
    spelling: Spelling,
    own: Option<&Mark<Jump>>,
) -> Option<Vec<Rule<TargetGroupId>>> {
    let Some(node) = section.get("rule") else {
        if let Some(port) = port {
            loops::within(&[], port, own, section.cx);
        }
        return Some(Vec::new());
    };
    let DeValue::Array(_) = node.value else {
        let help = "write [[listener.rule]] with two brackets";
        node.error(Code::WrongType, "a rule is an entry of a list", help);
        if matches!(node.value, DeValue::Table(_)) {
            let _ = rule(&node, protocol, port, spelling, &mut Vec::new());
        }
        return None;
    };
    let mut priorities = Vec::new();
    let items = node.items();
    let read: Vec<_> = items
        .iter()
        .map(|node| rule(node, protocol, port, spelling, &mut priorities))
        .collect();
    let complete = read.iter().all(Option::is_some);
    let mut placed: Vec<Placed<'_>> = read.into_iter().flatten().collect();
    placed.sort_by_key(|placed| placed.rule.priority);
    unique_priorities(&mut priorities);
    shadow::check(&placed);
    if let Some(port) = port.filter(|_| complete) {
        loops::within(&placed, port, own, section.cx);
    }
    complete.then(|| placed.into_iter().map(|placed| placed.rule).collect())
}

/// Adds the priority to `priorities`, also if the rest of the rule is wrong.
fn rule<'a>(
    node: &Node<'a>,
    protocol: Protocol,
    port: Option<u16>,
    spelling: Spelling,
    priorities: &mut Vec<(u32, Node<'a>)>,
) -> Option<Placed<'a>> {
    let section = node.section(&keys::RULE)?;
    let priority = section
        .require(
            "priority",
            "give it a number: rules are tried from the lowest to the highest",
        )
        .and_then(|at| Some((at.count()?, at)));
    priorities.extend(priority.clone());
    let conditions = section
        .require(
            "when",
            "write when = { path = \"/api/*\" }; what else comes is the listener's own action",
        )
        .and_then(|node| condition::read(&node, spelling));
    let then = section.require("then", "write then = { forward = \"NAME\" }");
    let table = then.as_ref().and_then(|node| node.section(&keys::THEN));
    let known = conditions.as_deref().unwrap_or_default();
    let action = table.and_then(|then| match protocol {
        Protocol::Http1 | Protocol::Http2 => action::read(&then, port, known, spelling),
        Protocol::Tcp => action::of_connection(&then),
    });
    if protocol == Protocol::Tcp {
        tcp::check_rule(&section);
    }
    let (priority, at) = priority?;
    Some(Placed {
        rule: Rule {
            priority: Priority(priority),
            conditions: conditions?,
            action: action?,
        },
        node: at,
        action: then?,
    })
}

/// Reports each priority that another rule has, with a free one for each.
fn unique_priorities(priorities: &mut [(u32, Node<'_>)]) {
    priorities.sort_by_key(|(number, _)| *number);
    let taken: HashSet<u32> = priorities.iter().map(|(number, _)| *number).collect();
    let mut free = 0;
    for pair in priorities.windows(2) {
        let [(first, above), (number, node)] = pair else {
            continue;
        };
        if first != number {
            continue;
        }
        free = free.max(number + 1);
        while taken.contains(&free) {
            free += 1;
        }
        let line = node.cx.line(above.span);
        let message = format!("priority {number} is there twice");
        let help = if Priority::RANGE.contains(&free) {
            format!("the other one is in line {line}; {free} is free")
        } else {
            format!("the other one is in line {line}")
        };
        node.error(Code::Duplicate, message, help);
        free += 1;
    }
}
