//! Entities, value types and pure rules.

pub mod access_key;
pub mod administrator;
pub mod audit;
pub mod balance;
pub mod breaker;
pub mod budget;
pub mod call;
pub mod caller;
pub mod config_row;
pub mod estimate;
pub mod fault;
pub mod field_rules;
pub mod ids;
pub mod interface;
pub mod json_object;
pub mod lease;
pub mod limits;
pub mod money;
pub mod plan;
pub mod price;
pub mod redis_place;
pub mod signature;
pub mod snapshot;
pub mod sse;
pub mod usage;
pub mod vendor;
