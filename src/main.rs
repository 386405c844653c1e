//! The `weir` command.

use std::process::ExitCode;

/// 3 % fewer instructions per request than with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    weir::cli::main(give_memory_back)
}

/// Returns what this thread has freed to the system. By itself the allocator does so at
/// a later allocation of the same thread, which an idle worker never makes.
#[allow(unsafe_code, reason = "the allocator has no safe interface for it")]
fn give_memory_back() {
    // SAFETY: may be called at any time; it touches nothing that is in use.
    unsafe { libmimalloc_sys::mi_collect(true) };
}
