//! The protocol's endpoints.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod authorize;
mod backchannel_logout;
mod bad_input;
mod bad_tokens;
mod ciba;
mod cimd;
mod claims;
mod client_assertion;
mod client_auth;
mod client_certificate;
mod client_dynamic_auth;
mod code;
mod database_work;
mod device;
mod dpop;
mod events;
mod exchange;
mod forged;
mod introspect;
mod introspection_jwt;
mod jar;
mod jarm;
mod jwe;
mod jwt_bearer;
mod key_rotation;
mod metadata;
mod opaque;
mod pairwise;
mod par;
mod pkce;
mod rar;
mod redirect_uri;
mod refresh;
mod register;
mod register_manage;
mod resource;
mod revoke;
mod token;
mod tokens;
mod unadvertised;
mod userinfo;
mod userinfo_jwt;
