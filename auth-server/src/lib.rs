//! OAuth 2.1 / OpenID Connect provider.
//!
//! `domain ← ports ← application ← adapters ← bootstrap`: an arrow never turns round.

/// Everything that knows a technology.
pub mod adapters;
/// Use cases, one file per verb.
pub mod application;
/// The composition root: the only place that picks adapters.
pub mod bootstrap;
/// The command line.
pub mod cli;
/// Settings, one file per section.
pub mod config;
/// Entities, value types, pure rules.
pub mod domain;
/// What the application needs from outside.
pub mod ports;
