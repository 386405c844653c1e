//! Sticky sessions: cookies that keep a client on its target or group.
//!
//! A cookie holds the whole session, sealed (see [`Seal`]): Weir remembers nothing, so all
//! workers, and all Weirs with the same key, agree. A session is a preference and no promise.
//! Its target is picked while it may take requests; otherwise the request goes where it
//! would go without a cookie, and the response brings a new one. Nothing in a cookie can
//! make a request fail.

mod choices;
mod lifetime;
mod seal;
mod session;

pub use choices::Choices;
pub use seal::{Nonce, Seal};
pub use session::{ApplicationCookie, CookieUpdate, Session, Sessions, draining};
