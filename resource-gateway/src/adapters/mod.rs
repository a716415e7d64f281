//! Inbound and outbound technology behind the ports.
pub mod sql;
