//! The fields of the access log that tell where a request went: `protocol`, `listener`, `rule`, `group`
//! and `target`. There are few combinations of them beside the number of requests, so each thread keeps
//! the text of some.

use std::cell::RefCell;
use std::sync::Arc;

use super::exchange::ExchangeFacts;
use super::log::{AccessLine, field_name};
use crate::model::{ListenerId, Protocol, TargetGroupId};
use crate::target::{Serial, Target};

/// Combinations that a thread keeps. Another one takes the place of one of them.
const KEPT: usize = 64;

thread_local! {
    static TEXTS: RefCell<[Option<Text>; KEPT]> = const { RefCell::new([const { None }; KEPT]) };
}

/// Where a request went. The names are shared with the snapshot, so the same ones have the same
/// place in memory as long as they are held here.
#[derive(Debug)]
struct Route {
    protocol: Protocol,
    listener: ListenerId,
    rule: Option<u32>,
    group: Option<TargetGroupId>,
    target: Option<Serial>,
}

#[derive(Debug)]
struct Text {
    route: Route,
    fields: Vec<u8>,
}

/// Adds the fields.
pub(super) fn write(line: &mut AccessLine<'_>, exchange: &ExchangeFacts) {
    TEXTS.with_borrow_mut(|texts| {
        let Some(kept) = texts.get_mut(place(exchange)) else {
            return;
        };
        match kept {
            Some(kept) if kept.route.is_of(exchange) => line.same_fields(&kept.fields),
            _ => {
                let begin = line.position();
                add(line, exchange);
                let mut fields = kept.take().map(|kept| kept.fields).unwrap_or_default();
                fields.clear();
                fields.extend_from_slice(line.fields_since(begin));
                let route = Route::of(exchange);
                *kept = Some(Text { route, fields });
            }
        }
    });
}

/// Where the text of a route is kept.
fn place(exchange: &ExchangeFacts) -> usize {
    let target = exchange.target.as_ref();
    let target = target.map_or(0, |target| target.serial.number() as usize);
    let rule = exchange.rule.unwrap_or_default() as usize;
    // A client that speaks another protocol does not take the place of the others.
    let protocol = exchange.protocol as usize * (KEPT / 2);
    target.wrapping_add(rule).wrapping_add(protocol) % KEPT
}

impl Route {
    fn of(exchange: &ExchangeFacts) -> Self {
        Self {
            protocol: exchange.protocol,
            listener: exchange.listener.1.clone(),
            rule: exchange.rule,
            group: exchange.group.clone(),
            target: serial(exchange.target.as_ref()),
        }
    }

    fn is_of(&self, exchange: &ExchangeFacts) -> bool {
        let group = exchange.group.as_ref();
        let is_group = match (&self.group, group) {
            (Some(own), Some(group)) => Arc::ptr_eq(&own.0, &group.0),
            (own, group) => own.is_none() && group.is_none(),
        };
        is_group
            && Arc::ptr_eq(&self.listener.0, &exchange.listener.1.0)
            && self.protocol == exchange.protocol
            && self.rule == exchange.rule
            && self.target == serial(exchange.target.as_ref())
    }
}

fn serial(target: Option<&Arc<Target>>) -> Option<Serial> {
    target.map(|target| target.serial)
}

fn add(line: &mut AccessLine<'_>, exchange: &ExchangeFacts) {
    line.word(field_name!("protocol"), exchange.protocol.name());
    line.word(field_name!("listener"), &exchange.listener.1.0);
    if let Some(rule) = exchange.rule {
        line.number(field_name!("rule"), rule);
    }
    if let Some(group) = &exchange.group {
        line.string(field_name!("group"), group.0.as_bytes());
    }
    if let Some(target) = &exchange.target {
        line.word(field_name!("target"), &target.address);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;
    use crate::model::{AccessLog, AccessPolicy, ClientAddress, ListenerSlot, TargetId};
    use crate::observe::{access_log, keep_access_lines, take_access_lines};

    /// The names are new each time, as after a reload.
    fn exchange(listener: &str, rule: Option<u32>, group: Option<&str>) -> ExchangeFacts {
        let mut exchange = ExchangeFacts::new(
            Protocol::Http1,
            clock::now().into_std(),
            (ListenerSlot(0), listener.into()),
            ClientAddress::Unix,
        );
        exchange.rule = rule;
        exchange.group = group.map(TargetGroupId::from);
        exchange
    }

    fn with_target(mut exchange: ExchangeFacts, address: &str) -> ExchangeFacts {
        let group = exchange.group.clone().unwrap();
        let addr = address.parse().unwrap();
        exchange.target = Some(Arc::new(Target::new(TargetId { group, addr })));
        exchange
    }

    #[test]
    fn a_line_tells_where_its_own_request_went() {
        keep_access_lines();
        let listener = "route_fields";
        let mut exchanges = vec![
            exchange(listener, None, None),
            exchange(listener, Some(1), None),
            exchange(listener, Some(1), Some("a")),
            // Another place in memory, and another name that has the same place in the table.
            exchange(listener, Some(1), Some("b")),
            exchange(listener, Some(1 + KEPT as u32), Some("b")),
        ];
        exchanges.extend((0..2 * KEPT).map(|at| {
            let address = format!("10.0.0.{at}:80");
            with_target(exchange(listener, None, Some("a")), &address)
        }));
        let policy = AccessPolicy {
            logged: AccessLog::All,
            ..AccessPolicy::FAILURES
        };
        for exchange in exchanges.iter().chain(exchanges.iter().rev()) {
            access_log::record(policy, exchange, Duration::ZERO);
        }
        let lines = take_access_lines();
        let told: Vec<_> = lines
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
            .filter(|line| line["listener"] == listener)
            .map(|line| ["rule", "group", "target"].map(|name| line[name].clone()))
            .collect();
        let expected: Vec<[serde_json::Value; 3]> = exchanges
            .iter()
            .chain(exchanges.iter().rev())
            .map(|exchange| {
                let group = exchange.group.as_ref().map(|group| &*group.0);
                let target = exchange.target.as_ref().map(|target| &*target.address);
                [exchange.rule.into(), group.into(), target.into()]
            })
            .collect();
        assert_eq!(told, expected);
    }
}
