//! Tests of the admin listener as a client sees it.

mod fixture;
mod scaling;
mod serve;
mod status;
