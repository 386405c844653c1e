//! The HTTP interface: todos under `/api/v1/todos`, and a health endpoint which queries the database.
//!
//! Every response names the replica in `x-replica`, and every refusal is JSON with an `error`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use crate::problem::Problem;
use crate::store::Store;
use crate::todo::{Change, Filter, NewTodo, Todo};

/// Bytes in a request body: the longest legal todo with every character escaped, and some room.
const BODY_LIMIT: usize = 64 * 1024;

const X_REPLICA: HeaderName = HeaderName::from_static("x-replica");

/// Faults of a replica, for experiments.
#[derive(Clone, Copy, Debug, Default)]
pub struct Behaviour {
    /// Added to each answer of a todo endpoint; health is not delayed.
    pub delay: Duration,
    /// Health answers 503 while the todo endpoints go on serving.
    pub fails_health: bool,
}

/// The service of the replica called `name` over `store`.
pub fn router(store: Arc<Store>, behaviour: Behaviour, name: HeaderValue) -> Router {
    let todos = Router::new()
        .route("/todos", get(list).post(create))
        .route("/todos/{id}", get(find).put(update).delete(remove));
    let todos = if behaviour.delay.is_zero() {
        todos
    } else {
        todos.layer(middleware::from_fn_with_state(behaviour.delay, delayed))
    };
    let health = if behaviour.fails_health {
        get(failed_health)
    } else {
        get(health)
    };
    Router::new()
        .nest("/api/v1", todos.route("/health", health))
        .fallback(async || Problem::NoSuchPath)
        .method_not_allowed_fallback(async || Problem::Method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::map_response_with_state(name, signed))
        .with_state(store)
}

async fn list(
    State(store): State<Arc<Store>>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Vec<Todo>>, Problem> {
    let Query(filter) = filter?;
    Ok(Json(store.list(filter).await?))
}

async fn create(
    State(store): State<Arc<Store>>,
    new: Result<Json<NewTodo>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Json(new) = new?;
    let todo = store.create(new).await?;
    let location = [(header::LOCATION, format!("/api/v1/todos/{}", todo.id))];
    Ok((StatusCode::CREATED, location, Json(todo)))
}

async fn find(
    State(store): State<Arc<Store>>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Todo>, Problem> {
    let Path(id) = id?;
    store
        .find(id)
        .await?
        .map(Json)
        .ok_or(Problem::NoSuchTodo(id))
}

async fn update(
    State(store): State<Arc<Store>>,
    id: Result<Path<i64>, PathRejection>,
    change: Result<Json<Change>, JsonRejection>,
) -> Result<Json<Todo>, Problem> {
    let (Path(id), Json(change)) = (id?, change?);
    store
        .update(id, change)
        .await?
        .map(Json)
        .ok_or(Problem::NoSuchTodo(id))
}

async fn remove(
    State(store): State<Arc<Store>>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Todo>, Problem> {
    let Path(id) = id?;
    store
        .delete(id)
        .await?
        .map(Json)
        .ok_or(Problem::NoSuchTodo(id))
}

async fn health(State(store): State<Arc<Store>>) -> (StatusCode, Json<Health>) {
    match store.probe().await {
        Ok(()) => (StatusCode::OK, Json(Health::Ok)),
        Err(error) => unavailable(error.to_string()),
    }
}

async fn failed_health() -> (StatusCode, Json<Health>) {
    unavailable("this replica was started with --fail-health".to_owned())
}

fn unavailable(reason: String) -> (StatusCode, Json<Health>) {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        Json(Health::Unavailable { reason }),
    )
}

#[derive(Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Health {
    Ok,
    Unavailable { reason: String },
}

async fn delayed(State(delay): State<Duration>, request: Request, next: Next) -> Response {
    tokio::time::sleep(delay).await;
    next.run(request).await
}

async fn signed(State(name): State<HeaderValue>, mut response: Response) -> Response {
    response.headers_mut().insert(X_REPLICA, name);
    response
}
