//! Benchmarks of decisions on the data path and in the control plane. `cargo bench -- pick`
//! runs those with a word in their name.

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
