//! Entities, value types and pure rules.

pub mod ids;
pub mod interface;
pub mod snapshot;
pub mod usage;
pub mod vendor;
