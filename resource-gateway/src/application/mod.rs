//! Use cases: one file per verb.

pub mod access_keys;
pub mod administer;
pub mod apply;
pub mod budgets;
pub mod change_config;
pub mod check_possession;
pub mod conversations;
pub mod documents;
pub mod invoke;
pub mod jobs;
pub mod limits;
pub mod list_models;
pub mod list_payloads;
pub mod meters;
pub mod page;
pub mod pools;
pub mod refused_rows;
pub mod registry;
pub mod replay;
pub mod report_usage;
pub mod retain_usage;
pub mod revocations;
pub mod snapshots;
pub mod tally;
pub mod verify_token;
pub mod webhook_signer;
