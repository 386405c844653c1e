//! The journal of events: as a list, and as a stream (server-sent events) for those that ask for
//! `text/event-stream`.

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::event_stream::{self, Source};
use super::operation::Answer;
use super::problem::{Kind, RefusedRequest};
use super::response::json;
use crate::observe::{Event, Follower, KEPT_EVENTS, Wanted, journal, kind};

/// Events of an answer without `limit`.
const DEFAULT_LIMIT: usize = 100;

/// Some events of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EventList {
    /// The number of the last event of the process; `since` this is what is to come.
    pub last: u64,
    /// The number of the oldest event that is kept.
    pub oldest: u64,
    /// Oldest first. With `since` the next after it, otherwise the newest.
    pub events: Vec<Event>,
}

pub(super) fn show(call: &Call) -> Answer {
    let wanted = wanted(call)?;
    let since = event_stream::since(call, journal().last())?;
    if event_stream::is_wanted(&call.headers) {
        let since = since.unwrap_or_else(|| journal().last());
        // Those that are gone would end the stream, and each that begins in its place.
        let since = since.max(journal().oldest().saturating_sub(1));
        return stream(since, wanted, call);
    }
    let limit = call.number("limit")?.unwrap_or(DEFAULT_LIMIT);
    let limit = limit.min(KEPT_EVENTS);
    // Before the events: one that comes meanwhile is listed or is to come, or both.
    let newest = journal().last();
    let events = match since {
        Some(since) => journal().after(since, &wanted, limit),
        None => journal().newest(&wanted, limit),
    };
    let list = EventList {
        last: newest,
        oldest: journal().oldest(),
        events: events.iter().map(|event| (**event).clone()).collect(),
    };
    Ok(json(StatusCode::OK, &list))
}

/// Which events the query asks for.
fn wanted(call: &Call) -> Result<Wanted, RefusedRequest> {
    let named = call.parameter("kinds").unwrap_or_default();
    let kinds = named
        .split(',')
        .map(str::trim)
        .filter(|kind| !kind.is_empty());
    let kinds: Vec<String> = kinds.map(str::to_owned).collect();
    let unknown = kinds
        .iter()
        .find(|known| !kind::ALL.contains(&known.as_str()));
    if let Some(unknown) = unknown {
        let there_are = kind::ALL.join(", ");
        let detail = format!("`{unknown}` is no kind of events; there are {there_are}");
        return Err(Kind::BadQuery.because(detail));
    }
    let group = call.parameter("group").map(str::to_owned);
    Ok(Wanted { kinds, group })
}

fn stream(since: u64, wanted: Wanted, call: &Call) -> Answer {
    let too_many = || {
        let detail = "as many clients follow the events as may at a time";
        Kind::TooManyStreams.because(detail).retry_after(10)
    };
    let follower = journal().follow(since, wanted).ok_or_else(too_many)?;
    Ok(event_stream::response(follower, call))
}

impl Source for Follower {
    async fn next(&mut self) -> Option<Bytes> {
        let mut piece = String::new();
        // One that was too slow is cut off.
        for event in Follower::next(self).await? {
            event_stream::write(&mut piece, event.sequence, &event.kind, &*event);
        }
        Some(Bytes::from(piece))
    }
}
