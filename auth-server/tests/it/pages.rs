//! The pages: what they lead to, and what they must never do.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod account;
mod consent;
mod cookies;
mod login;
mod logout;
mod shape;
mod throttle;
