//! The one form that a request or a response has inside Weir, whatever the wire.
//!
//! A head is the bytes that came, with an index beside them: where each field's name and value
//! stand, and a [`FieldName`] of one byte for the names that Weir cares about. A removal is a mark
//! in the index, an addition is appended to the text. So the order, case and duplicates of the
//! other fields are kept, and a head that is used again allocates nothing.
//!
//! A head that exists is well-formed by RFC 9110: its method is a token, its request target has
//! one of the four forms of RFC 9112 section 3.2, no name or value contains what could end a line.
//! How a message is framed is decided by the codec of its wire ([`http1`](crate::http1)).
//! [`Exchange`] is what the proxy sees of a client's connection. Everything else here is pure.
//!
//! In this module a target is a request target, the second word of a request line; elsewhere it is
//! a server ([`crate::target`]).

mod authority;
mod chars;
pub(crate) mod chunk;
mod convert;
mod debug;
mod exchange;
mod fields;
mod frame;
mod identity;
mod lists;
mod method;
mod name_set;
mod names;
mod request;
mod response;
mod span;
mod target;
mod version;

pub use authority::Authority;
pub(crate) use chars::{LOOSE, PLAIN, TARGET, TOKEN, is_in, prefix};
pub use convert::{NOT_IN_HTTP2, NotConvertible};
pub use exchange::{BodyLength, Exchange};
pub use fields::{Field, Fields, Invalid};
pub use frame::Frame;
pub use identity::IdentityFields;
pub use lists::list;
pub use method::Method;
pub use name_set::{HOP_BY_HOP, NameSet};
pub use names::FieldName;
pub(crate) use names::is_same_name;
pub use request::RequestHead;
pub use response::ResponseHead;
pub(crate) use span::Span;
pub use target::Form;
pub(crate) use target::{TargetFault, TargetShape};
pub use version::Version;
