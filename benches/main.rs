//! What the parts cost that decide. `cargo bench -- pick` runs those whose name contains a word.

use criterion::criterion_main;

mod autoscale;
mod picker;
mod router;
mod snapshot;

criterion_main!(
    autoscale::benches,
    picker::benches,
    router::benches,
    snapshot::benches
);
