//! What the application needs from outside, as narrow traits.

pub mod crypto;
pub mod decoupled;
pub mod logout;
pub mod outbound;
pub mod registrations;
pub mod rules;
pub mod store;
