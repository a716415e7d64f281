//! Google's Gemini with an API key.

use std::sync::Arc;

use super::profiled;
use crate::{
    adapters::{
        auth_schemes::named_header::NamedHeader,
        dialects::{
            gemini::{Gemini, GeminiEmbeddings},
            translated::Chat,
        },
    },
    application::registry::Profile,
    domain::{interface::Capability, snapshot::Need, vendor::BaseUrl},
    ports::transport::Transport,
};

pub(super) fn profile(transport: Arc<dyn Transport>) -> anyhow::Result<Profile> {
    let mut profile = profiled(
        "gemini",
        vec![
            (Capability::Chat, Arc::new(Chat(Gemini))),
            (Capability::Embeddings, Arc::new(GeminiEmbeddings)),
        ],
        Arc::new(NamedHeader::X_GOOG_API_KEY),
        transport,
    );
    // A proxy may hold the key in our place.
    profile.facts.secret_key = Need::Optional;
    // The older `…/v1beta` has the same bodies, and models that are tried out.
    profile.default_base_url = Some(BaseUrl::parse("https://generativelanguage.googleapis.com/v1")?);
    Ok(profile)
}
