//! Integration tests of the gateway.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, but not what they share"
)]

mod admin;
mod apply;
mod architecture;
mod callers;
mod calls;
mod faults;
mod journal;
mod limits;
mod possession;
mod running;
mod storage;
mod storage_snapshots;
mod storage_world;
mod stub_issuer;
mod stub_vendor;
