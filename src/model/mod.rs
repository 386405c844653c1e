//! The words of the house as plain data and pure state machines.
//!
//! Everything else in Weir is built from these types. Nothing here does I/O,
//! reads a clock or knows about tokio; what needs time or randomness takes it as
//! an argument. The crates named here are `http`, `ipnet` and `regex`, which are
//! data too.

mod admission;
mod algorithm;
mod ejection;
mod elsewhere;
mod escape;
mod health;
mod id;
mod keep_alive;
mod latency;
mod limits;
mod outcome;
mod pattern;
mod ramp;
mod registration;
mod rule;
mod sticky;
mod target;

pub use admission::{Admission, Waiter, Wants};
pub use algorithm::{Algorithm, HashKey, HashPolicy};
pub use ejection::{Ejection, EjectionCounts, EjectionReason};
pub use elsewhere::Elsewhere;
pub use escape::{Escaped, Escaping, escape_json, escape_lines, is_unsafe};
pub use health::{
    CheckFailure, CheckResult, Health, HealthReason, HealthRecord, HealthState, Thresholds,
};
pub use id::{GroupIndex, ListenerId, ListenerSlot, SocketId, TargetGroupId, TargetId};
pub use keep_alive::KeepAlive;
pub use latency::Moment;
pub use limits::{
    ClientLimits, Forwarded, ForwardedMode, Outlier, Overload, RateKey, RateLimit, Retry, Upstream,
};
pub use outcome::{Blame, Failure, Stage};
pub use pattern::{HostPattern, Pattern, PatternError, Regex};
pub use ramp::Ramp;
pub use registration::{DrainReason, Draining, Registration};
pub use rule::{
    Action, Condition, FixedResponse, Forward, Priority, QueryMatch, Redirect, RedirectPart, Rule,
};
pub use sticky::{CookieSource, Sticky, StickyDraining, StickyFull};
pub use target::{Failings, Lease, Target, Verdict, WHOLE_SHARE};
