//! Inbound HTTP: router, extractors, responders, pages.

mod cors;
mod oauth;
pub(crate) mod pages;
mod router;
mod services;
mod session_store;
mod wire;

pub(crate) use router::router;
pub(crate) use services::{App, Services};

use crate::application::policy::Policy;

/// The pages' words.
///
/// # Errors
/// When a text file does not hold exactly what the pages need.
pub(crate) fn catalogue() -> anyhow::Result<pages::texts::Catalogue> {
    Ok(pages::texts::Catalogue::builtin()?)
}

/// The metadata document of a provider.
///
/// # Errors
/// When it cannot be serialised.
pub(crate) fn metadata(policy: &Policy) -> anyhow::Result<bytes::Bytes> {
    Ok(serde_json::to_vec(&oauth::metadata_document(policy))?.into())
}
