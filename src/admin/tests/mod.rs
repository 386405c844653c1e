//! Tests of the admin listener as a client sees it.

mod dashboard;
mod explain;
mod fixture;
mod history;
mod maintenance;
mod openapi;
mod replicas;
mod scaling;
mod serve;
mod status;
mod status_stream;
