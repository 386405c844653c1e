//! What an operation of the admin API is: a path with a method, and all that its description has.

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{Method, Response};

use super::call::Call;
use super::problem::RefusedRequest;

/// The response to a request.
pub(super) type Answer = Result<Response<Body>, RefusedRequest>;

/// Answers a request.
pub(super) type Handler = fn(Call) -> BoxFuture<'static, Answer>;

/// Which requests are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// All: the answer reveals nothing.
    Probe,
    /// Those that name this listener by an address or as `localhost`, and those with the token.
    Read,
    /// Those with the token.
    Write,
}

/// One operation of the admin API. The router and the `OpenAPI` document are made from it.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the document is made by a test")
)]
pub(super) struct Operation {
    /// Its name in clients that are generated from the document.
    pub(super) id: &'static str,
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// What it does, in a few words.
    pub(super) summary: &'static str,
    pub(super) access: Access,
    /// The parameters that its query may have.
    pub(super) query: &'static [Parameter],
    /// The type of its request body, in the document; `None` if it takes none.
    pub(super) body: Option<&'static str>,
    /// What it answers if it succeeds.
    pub(super) answers: &'static [Content],
    pub(super) run: Handler,
}

/// A parameter of a query.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the document is made by a test")
)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: ParameterKind,
}

/// What a parameter of a query is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParameterKind {
    Text,
    Number,
    Boolean,
}

/// A response that is no problem.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the document is made by a test")
)]
pub(super) struct Content {
    pub(super) status: u16,
    pub(super) media_type: &'static str,
    /// The type of the content, in the document; `None` of text.
    pub(super) schema: Option<&'static str>,
}

impl Content {
    /// A JSON object of this type.
    pub(super) const fn json(schema: &'static str) -> Self {
        Self {
            status: 200,
            media_type: "application/json",
            schema: Some(schema),
        }
    }

    pub(super) const fn text(media_type: &'static str) -> Self {
        Self {
            status: 200,
            media_type,
            schema: None,
        }
    }

    pub(super) const fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}
