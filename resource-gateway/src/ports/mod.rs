//! What the application needs from outside, as narrow traits.

pub mod config_source;
pub mod usage;
