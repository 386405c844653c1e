//! Sessions that stay on a target.

use std::time::Duration;

/// How a group keeps the requests of one client together (ALB's sticky sessions).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// Whose cookie begins a session and ends it.
    pub source: CookieSource,
    /// The cookie that Weir sets: sealed, so that nobody else can make or read one.
    pub cookie: String,
    /// How long a session lasts after its last response: 1 s to 7 d.
    pub duration: Duration,
    /// When the target has as many requests as it may have.
    pub when_full: StickyFull,
    /// When the target drains.
    pub when_draining: StickyDraining,
}

/// Whose cookie a session follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CookieSource {
    /// Weir's own (`lb_cookie`): every client gets one.
    LoadBalancer,
    /// The application's (`app_cookie`): a session begins when a target sets it, and lasts
    /// while the client sends it.
    Application(String),
}

/// What a session does whose target is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StickyFull {
    /// It goes to another target and stays there.
    Move,
    /// It waits in the group's queue for its own target.
    Wait,
}

/// What a session does whose target drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StickyDraining {
    /// It goes to another target with its next request.
    Move,
    /// It stays until the deregistration delay is over.
    Stay,
}
