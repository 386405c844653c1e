//! What the replicas of a group print: the last lines as a list, and those that come as a stream.

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::event_stream::{self, Source};
use super::operation::Answer;
use super::problem::Kind;
use super::response::json;
use crate::model::TargetGroupId;
use crate::observe::{LineFollower, ReplicaLine, WantedLines, replica_lines};

/// Lines of an answer without `limit`, and most with it.
const DEFAULT_LIMIT: usize = 200;
const MAX_LIMIT: usize = 10_000;

/// Some lines of replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LineList {
    /// The number of the last line of any replica; `since` this is what is to come.
    pub last: u64,
    /// Oldest first. With `since` the next after it, otherwise the newest.
    pub lines: Vec<ReplicaLine>,
}

pub(super) fn show(call: &Call) -> Answer {
    let group = TargetGroupId::from(call.part("group"));
    if call.context.reader.load().group_named(&group).is_none() {
        let detail = format!("there is no target group `{group}`");
        return Err(Kind::UnknownGroup.because(detail));
    }
    let wanted = WantedLines {
        group: group.to_string(),
        replica: call.number("replica")?,
    };
    // Before the lines: one that comes meanwhile is listed or is to come, or both.
    let last = replica_lines().last();
    let since = event_stream::since(call, last)?;
    if event_stream::is_wanted(&call.headers) {
        return stream(since.unwrap_or(last), wanted, call);
    }
    let limit = call
        .number("limit")?
        .unwrap_or(DEFAULT_LIMIT)
        .min(MAX_LIMIT);
    let lines = match since {
        Some(since) => replica_lines().after(since, &wanted, limit),
        None => replica_lines().newest(&wanted, limit),
    };
    let lines = lines.iter().map(|line| (**line).clone()).collect();
    Ok(json(StatusCode::OK, &LineList { last, lines }))
}

fn stream(since: u64, wanted: WantedLines, call: &Call) -> Answer {
    let too_many = || {
        let detail = "as many clients follow the lines of replicas as may at a time";
        Kind::TooManyStreams.because(detail).retry_after(10)
    };
    let follower = replica_lines().follow(since, wanted).ok_or_else(too_many)?;
    Ok(event_stream::response(follower, call))
}

impl Source for LineFollower {
    async fn next(&mut self) -> Option<Bytes> {
        let mut piece = String::new();
        for line in LineFollower::next(self).await {
            event_stream::write(&mut piece, line.sequence, "line", &*line);
        }
        Some(Bytes::from(piece))
    }
}
