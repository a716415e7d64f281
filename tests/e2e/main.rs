//! Black-box tests over the two running services.
//!
//! `world` starts the real binaries; `browser` and `oauth` are a person and an application in as little code as will do;
//! `upstream` is a vendor that misbehaves on demand. The rest are tests, a sentence each. `make test` provides what
//! they need (PostgreSQL, Chromium, the client libraries); a missing one is a failure, never a skip.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "every line here is a test or its helper, and a test fails by a panic"
)]

mod browser;
mod oauth;
mod upstream;
mod world;

mod authorize;
mod baidu;
mod client_certificates;
mod clients;
mod crash;
mod demo;
mod forward_proxies;
mod gateway;
mod gateway_faults;
mod gateway_tokens;
mod hardening;
mod limits;
mod logout;
mod money_chaos;
mod pages;
mod policy_nodes;
mod proxies;
mod races;
mod real_clients;
mod revocation;
mod secrets_kept;
mod sessions;
mod states;
mod token_endpoint;
mod vendor_jobs;
mod vendors;
