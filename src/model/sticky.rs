//! Sessions that stay on a target.

use std::time::Duration;

/// How a group keeps the requests of one client together (ALB's sticky sessions).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// The cookie that begins and ends a session.
    pub source: CookieSource,
    /// The name of the cookie that Weir sets: sealed, so that no client can make or read one.
    pub cookie: String,
    /// How long a session lasts after its last response: 1 s to 7 d.
    pub duration: Duration,
    /// What a session does if its target has as many requests as its limit allows.
    pub when_full: StickyFull,
    /// What a session does if its target drains.
    pub when_draining: StickyDraining,
}

/// The cookie that a session follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CookieSource {
    /// Weir's own (`lb_cookie`): every client gets one.
    LoadBalancer,
    /// The application's (`app_cookie`): a session begins when a target sets it, and lasts
    /// while the client sends it.
    Application(String),
}

/// What a session does if its target is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StickyFull {
    /// It goes to another target and stays there.
    Move,
    /// It waits in the group's queue for its own target.
    Wait,
}

/// What a session does if its target drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StickyDraining {
    /// It goes to another target with its next request.
    Move,
    /// It stays until the deregistration delay is over.
    Stay,
}
