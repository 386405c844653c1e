//! Desync mitigation as AWS's load balancers document it.

use super::Class;

/// What is done about requests that recipients may read differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Desync {
    /// They are counted and forwarded.
    Monitor,
    /// Ambiguous ones are the last on their connections, severe ones are refused.
    #[default]
    Defensive,
    /// Only compliant ones are forwarded.
    Strictest,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes on.
    Forward,
    /// It goes on; the connections of client and target end with it.
    ForwardAndClose,
    /// It is answered with 400, and the client's connection ends.
    Reject,
}

/// What happens to a request that could be parsed. One that could not is refused in every mode.
pub fn decide(mode: Desync, class: Class) -> Decision {
    match (mode, class) {
        (Desync::Monitor, _)
        | (Desync::Defensive, Class::Compliant | Class::Acceptable)
        | (Desync::Strictest, Class::Compliant) => Decision::Forward,
        (Desync::Defensive, Class::Ambiguous) => Decision::ForwardAndClose,
        (Desync::Defensive, Class::Severe)
        | (Desync::Strictest, Class::Acceptable | Class::Ambiguous | Class::Severe) => {
            Decision::Reject
        }
    }
}
