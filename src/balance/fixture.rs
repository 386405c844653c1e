//! Members for tests.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::roster::Member;
use crate::model::TargetId;
use crate::target::Target;

/// Members of these weights at 10.0.0.1 and so on.
pub(super) fn members(weights: &[u16]) -> Vec<Member> {
    let member = |(index, &weight): (usize, &u16)| Member {
        target: Arc::new(Target::new(TargetId {
            group: "todo".into(),
            addr: ([10, 0, (index >> 8) as u8, index as u8], 6400).into(),
        })),
        weight: NonZeroU16::new(weight).unwrap(),
    };
    weights.iter().enumerate().map(member).collect()
}
