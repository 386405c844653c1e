//! The deadline of a whole request.

use tokio::time::Instant;

use super::grpc;
use crate::message::RequestHead;
use crate::model::{Failure, Stage, TargetProtocol};
use crate::observe::Record;
use crate::target_group::TargetGroup;

/// When a request has to be over, and what it means that it is not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    pub(super) failure: Failure,
}

impl Deadline {
    /// That of a request to its group, if it has one: the group's, or that of a call of gRPC if it is
    /// sooner. A client that gives its call too little time says nothing about the target, as one
    /// does not that leaves.
    pub(super) fn of(group: &TargetGroup, record: &Record, head: &RequestHead) -> Option<Self> {
        let is_grpc = group.upstream.protocol == TargetProtocol::Grpc;
        let of_call = is_grpc.then(|| grpc::timeout(&head.fields)).flatten();
        let of_group = group.upstream.request_timeout;
        let (timeout, failure) = match (of_group, of_call) {
            (Some(of_group), None) => (of_group, Failure::TargetTimeout(Stage::Request)),
            (Some(of_group), Some(of_call)) if of_group <= of_call => {
                (of_group, Failure::TargetTimeout(Stage::Request))
            }
            (_, Some(of_call)) => (of_call, Failure::ClientDeadline),
            (None, None) => return None,
        };
        let at = Instant::from_std(record.started()).checked_add(timeout)?;
        Some(Self { at, failure })
    }
}
