//! The fuzz targets of Weir, for cargo-fuzz. The suite runs the same ones on the corpora.

#[path = "../codec"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "the suite uses all of it, and fails by panicking"
)]
mod codec {
    pub(crate) mod reader;
    pub(crate) mod reference;
    pub(crate) mod world;
}
mod growth;
mod targets;

/// Runs a target on what the fuzzer has made. Panics if a property does not hold.
///
/// # Panics
///
/// Also if there is no target of that name.
pub fn run(name: &str, data: &[u8]) {
    let target = targets::ALL.iter().find(|(other, _)| *other == name);
    target.expect("a name in the table").1(data);
    if name == "configuration" {
        growth::read_grown(data);
    }
}
