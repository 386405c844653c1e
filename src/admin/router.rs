//! Leads requests to their operations, through layers that let in, bound and time them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::routing::{MethodFilter, MethodRouter, on};
use http::header::LOCATION;
use http::{HeaderValue, Response, StatusCode};
use tokio::time::timeout;

use super::authorize::Guard;
use super::call::{self, Call};
use super::context::Context;
use super::operation::{Access, Operation, Parameter};
use super::paths::MOVED;
use super::problem::Kind;
use super::routes::OPERATIONS;

/// For an answer to begin. Changes are visible within moments.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// What the layers of a route know.
#[derive(Clone)]
struct Door {
    guard: Arc<Guard>,
    context: Context,
    access: Access,
}

/// All routes.
pub(super) fn router(context: &Context) -> Router {
    let guard = Arc::new(Guard::default());
    let mut router = Router::new();
    for operation in OPERATIONS {
        let door = Door {
            guard: Arc::clone(&guard),
            context: context.clone(),
            access: operation.access,
        };
        router = router.route(operation.path, route(operation, door));
    }
    router
        .fallback(elsewhere)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn(in_time))
}

fn route(operation: &'static Operation, door: Door) -> MethodRouter {
    // Every method of the table is one that the filter knows.
    let filter = MethodFilter::try_from(operation.method.clone()).unwrap_or(MethodFilter::GET);
    let context = door.context.clone();
    let handler = move |request: Request| answer(operation, context.clone(), request);
    on(filter, handler).layer(from_fn_with_state(door, admit))
}

async fn answer(operation: &Operation, context: Context, request: Request) -> Response<Body> {
    let known: Vec<&str> = operation.query.iter().map(Parameter::name).collect();
    // Probes and scrapers may say what they like.
    let known = operation.path.starts_with("/api/").then_some(&*known);
    let answered = match Call::read(request, context, known).await {
        Ok(call) => (operation.run)(call).await,
        Err(refused) => Err(refused),
    };
    answered.unwrap_or_else(super::problem::RefusedRequest::into_response)
}

/// Lets in what may do what it asks for.
async fn admit(State(door): State<Door>, request: Request, next: Next) -> Response<Body> {
    let client = call::peer(request.extensions()).ip();
    let snapshot = door.context.reader.load_full();
    let admitted = door.guard.admit(
        door.access,
        request.headers(),
        request.uri().authority(),
        client,
        &snapshot,
    );
    match admitted {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            // A connection that is closed with unread bytes is reset, and the response may be
            // lost with it.
            let _ = call::read(request.into_body()).await;
            refused.into_response()
        }
    }
}

/// Bounds the time until an answer begins.
async fn in_time(request: Request, next: Next) -> Response<Body> {
    let answered = timeout(ANSWER_TIMEOUT, next.run(request)).await;
    answered.unwrap_or_else(|_| {
        let detail = format!("there was no answer within {ANSWER_TIMEOUT:?}");
        Kind::Timeout.because(detail).into_response()
    })
}

/// Answers what no route is for: tells where a path of an earlier version is now, or what there is.
async fn elsewhere(request: Request) -> Response<Body> {
    let uri = request.uri().clone();
    let _ = call::read(request.into_body()).await;
    let query = uri
        .query()
        .map_or(String::new(), |query| format!("?{query}"));
    match moved(uri.path()).map(|path| HeaderValue::try_from(format!("{path}{query}"))) {
        Some(Ok(location)) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(LOCATION, location);
            response
        }
        None | Some(Err(_)) => Kind::NotFound.because(index()).into_response(),
    }
}

fn moved(path: &str) -> Option<String> {
    MOVED.iter().find_map(|(old, new)| {
        let rest = path.strip_prefix(old)?;
        (rest.is_empty() || old.ends_with('/')).then(|| format!("{new}{rest}"))
    })
}

async fn other_method(request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let _ = call::read(request.into_body()).await;
    let methods = methods(&path);
    let detail = format!("this path answers {methods}");
    let refused = Kind::MethodNotAllowed.because(detail);
    refused.allowing(&methods).into_response()
}

/// The methods of a path: `GET, HEAD`.
fn methods(path: &str) -> String {
    let of_path = OPERATIONS
        .iter()
        .filter(|operation| is_at(operation.path, path));
    let named = of_path.map(|operation| match operation.method.as_str() {
        "GET" => "GET, HEAD",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "POST",
    });
    named.collect::<Vec<_>>().join(", ")
}

/// Whether a path is one of a route: `/groups/{group}`.
fn is_at(route: &str, path: &str) -> bool {
    let (route, path) = (route.split('/'), path.split('/'));
    route.clone().count() == path.clone().count()
        && route
            .zip(path)
            .all(|(known, part)| known.starts_with('{') || known == part)
}

/// What there is, a line each.
fn index() -> String {
    let lines = OPERATIONS.iter().map(|operation| {
        let Operation {
            method,
            path,
            summary,
            ..
        } = operation;
        format!("{method} {path}: {summary}\n")
    });
    format!("there is\n{}", lines.collect::<String>())
}

impl Parameter {
    fn name(&self) -> &'static str {
        self.name
    }
}
