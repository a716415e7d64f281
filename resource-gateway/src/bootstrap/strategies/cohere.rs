//! Cohere.

use std::sync::Arc;

use super::profiled;
use crate::{
    adapters::{
        auth_schemes::Bearer,
        dialects::{
            cohere::{Cohere, CohereEmbeddings, CohereRerank},
            translated::Chat,
        },
    },
    application::registry::Profile,
    domain::{interface::Capability, vendor::BaseUrl},
    ports::transport::Transport,
};

pub(super) fn profile(transport: Arc<dyn Transport>) -> anyhow::Result<Profile> {
    let mut profile = profiled(
        "cohere",
        vec![
            (Capability::Chat, Arc::new(Chat(Cohere))),
            (Capability::Embeddings, Arc::new(CohereEmbeddings)),
            (Capability::Rerank, Arc::new(CohereRerank)),
        ],
        Arc::new(Bearer),
        transport,
    );
    profile.default_base_url = Some(BaseUrl::parse("https://api.cohere.com/v2")?);
    Ok(profile)
}
