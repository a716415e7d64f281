//! AI gateway: verifies tokens, applies an interface's policy, calls vendors, accounts for usage.
//!
//! `domain ← ports ← application ← adapters ← bootstrap`: an arrow never turns round.

pub mod adapters;
pub mod application;
pub mod bootstrap;
pub mod cli;
pub mod config;
pub mod domain;
pub mod ports;
