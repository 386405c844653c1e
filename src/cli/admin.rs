//! The arguments of commands for a running Weir.

/// The arguments of commands for a running Weir.
#[derive(Debug, clap::Args)]
pub(super) struct AdminArguments {
    /// Address of the admin listener
    #[arg(
        long,
        global = true,
        env = "WEIR_ADMIN",
        default_value = "127.0.0.1:9090",
        value_name = "HOST:PORT"
    )]
    pub(super) admin: String,
}
