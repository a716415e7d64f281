//! Ollama, at home.

use std::sync::Arc;

use super::profiled;
use crate::{
    adapters::{
        auth_schemes::Bearer,
        dialects::{
            ollama::{API, APIS, Ollama, OllamaEmbeddings},
            translated::Chat,
        },
    },
    application::registry::Profile,
    domain::{
        interface::Capability,
        snapshot::{Need, OptionFacts},
        vendor::BaseUrl,
    },
    ports::transport::Transport,
};

pub(super) fn profile(transport: Arc<dyn Transport>) -> anyhow::Result<Profile> {
    let mut profile = profiled(
        "ollama",
        vec![
            (Capability::Chat, Arc::new(Chat(Ollama))),
            (Capability::Embeddings, Arc::new(OllamaEmbeddings)),
        ],
        Arc::new(Bearer),
        transport,
    );
    // It has no accounts; a proxy before it may have.
    profile.facts.secret_key = Need::Optional;
    profile.facts.options.push(OptionFacts {
        name: API,
        need: Need::Optional,
        values: &APIS,
    });
    profile.default_base_url = Some(BaseUrl::parse("http://127.0.0.1:11434")?);
    Ok(profile)
}
