//! What the application needs from outside, as narrow traits.

pub mod access_keys;
pub mod budget;
pub mod chat;
pub mod codec;
pub mod config_source;
pub mod conversations;
pub mod fetcher;
pub mod jobs;
pub mod notices;
pub mod payload_log;
pub mod provider;
pub mod rate_store;
pub mod replies;
pub mod resolver;
pub mod tokenizer;
pub mod transport;
pub mod usage;
pub mod usage_reports;
