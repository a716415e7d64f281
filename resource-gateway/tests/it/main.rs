//! Integration tests of the gateway.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, but not what they share"
)]

mod access_key_signers;
mod access_keys;
mod access_keys_admin;
mod addresses;
mod admin;
mod admin_changes;
mod admin_description;
mod apply;
mod architecture;
mod budget_leases;
mod budget_notices;
mod budgets;
mod bypass;
mod callers;
mod calls;
mod capabilities;
mod confidence;
mod conformance;
mod conversations;
mod counted;
mod cut_connections;
mod denials;
mod doctor;
mod echo_vendor;
mod estimates;
mod faults;
mod fetched_urls;
mod field_rules;
mod forms;
mod forward;
mod fuzz;
mod job_webhooks;
mod jobs;
mod journal;
#[path = "../../examples/new-vendor/lay.rs"]
mod lay;
mod limits;
mod local_engines;
mod messages;
mod new_vendor;
mod payloads;
mod place;
mod pools;
mod possession;
mod quotas;
mod rate_stores;
mod raw;
mod recorder;
mod replay;
mod resilience;
mod resilience_at_random;
mod responses;
mod responses_vendor;
mod retention;
mod running;
mod scripted;
mod shared_gateways;
mod shared_stores;
mod signed_calls;
mod signer;
mod socket_vendor;
mod speaking_vendor;
mod storage;
mod storage_access_keys;
mod storage_conversations;
mod storage_jobs;
mod storage_ledger;
mod storage_snapshots;
mod storage_world;
mod stub_issuer;
mod stub_vendor;
#[path = "../../examples/conformance/suite/mod.rs"]
mod suite;
mod usage;
mod vendor_faults;
mod vendor_jobs;
mod vendor_models;
