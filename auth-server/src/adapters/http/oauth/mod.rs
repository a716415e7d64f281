//! The protocol's endpoints.

pub(super) mod authorize;
pub(super) mod backchannel;
mod bound_request;
mod client_request;
pub(super) mod device;
mod error;
pub(super) mod events;
pub(super) mod introspect;
pub(super) mod metadata;
pub(super) mod par;
mod possession;
pub(super) mod register;
pub(super) mod revoke;
pub(super) mod token;
pub(super) mod userinfo;

pub(super) use error::OAuthError;
pub(crate) use metadata::document as metadata_document;
