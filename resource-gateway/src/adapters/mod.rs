//! Inbound and outbound technology behind the ports.
pub mod auth_schemes;
pub mod dialects;
pub mod journal;
pub mod sql;
