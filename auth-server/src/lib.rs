//! OAuth 2.1 / OpenID Connect provider.
//!
//! `domain ← ports ← application ← adapters ← bootstrap`: an arrow never turns round.

pub mod adapters;
pub mod application;
pub mod domain;
pub mod ports;
