//! Tests of the admin listener as a client sees it.

mod fixture;
mod openapi;
mod scaling;
mod serve;
mod status;
