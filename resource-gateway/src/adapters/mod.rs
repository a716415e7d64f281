//! Inbound and outbound technology behind the ports.
pub mod auth_schemes;
pub mod dialects;
pub mod http;
pub mod journal;
pub mod jwks;
pub mod limits_local;
pub mod limits_redis;
pub mod local_nonces;
pub mod local_replies;
pub mod payload_log;
pub mod revocation_feed;
pub mod sandbox;
pub mod secrets;
pub mod sql;
pub mod upstream;
pub mod vocabulary;
pub mod webhooks;
