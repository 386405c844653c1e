//! Broken configuration files and what Weir says about them, word for word; and
//! texts that are no configuration at all.

mod describe;
mod elastic;
mod filters;
mod full;
mod garbage;
mod golden;
mod help;
mod http;
mod large;
mod meaning;
mod reference;
#[cfg(feature = "tools")]
mod terraform;
