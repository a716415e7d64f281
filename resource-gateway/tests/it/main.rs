//! Integration tests of the gateway.

mod apply;
mod journal;
mod storage;
mod storage_snapshots;
mod storage_world;
