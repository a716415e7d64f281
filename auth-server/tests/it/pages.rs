//! The pages: what they lead to, and what they must never do.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod account;
mod approve;
mod client_logo;
mod consent;
mod cookies;
mod device;
mod login;
mod logout;
mod logout_frames;
mod logout_hostile;
mod shape;
mod throttle;
