//! Entities, value types and pure rules: values in, values out.

pub mod authorization;
pub mod authorization_details;
pub mod ciba;
pub mod claims_request;
pub mod client;
pub mod client_auth;
pub mod client_protocol;
pub mod decoupled;
pub mod directory;
pub mod grant;
pub mod ids;
pub mod logout;
pub mod reach;
pub mod registration;
pub mod resource;
pub mod sector;
pub mod security_profile;
pub mod session;
pub mod signing_key;
pub mod throttle;
pub mod user;
