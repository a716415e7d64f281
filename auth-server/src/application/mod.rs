//! Use cases: one file per verb. They know ports, never technologies.

pub mod account;
pub mod apply;
pub mod authenticate_client;
pub mod authorize;
pub mod client_credentials;
pub mod client_documents;
pub mod end_grant;
pub mod exchange_code;
pub mod introspect;
pub mod issue;
pub mod keep_house;
pub mod keyring;
pub mod live_tokens;
pub mod operate;
pub mod password_grant;
pub mod policy;
pub mod poll_events;
pub mod refresh_secret;
pub mod revocations;
pub mod revoke_token;
pub mod rotate_refresh;
pub mod sign_in;
pub mod sign_out;
pub mod token_call;
pub mod token_error;
pub mod userinfo;
