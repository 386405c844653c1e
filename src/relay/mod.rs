//! One request on one connection: the heads rewritten for the next hop, both bodies
//! streamed with backpressure and deadlines.
//!
//! Cancel safety: dropping what [`forward`] returns, or the response body, abandons
//! the request upstream, closes its connection and ends its lease.

mod forward;
mod headers;
mod request_body;
mod response_body;
mod tunnel;
mod upgrade;
mod websocket;

pub use forward::{AttemptError, Outgoing, Progress, UpstreamResponse, forward};
pub use headers::{ForwardedFields, RequestFields, forwarded_for, prepare_request, request_id};
pub use request_body::{BodyStart, ReplayBody, RequestBody, RequestBodyLimits};
pub use response_body::ResponseBody;
pub use tunnel::Tunnel;
pub use upgrade::Upgrade;
