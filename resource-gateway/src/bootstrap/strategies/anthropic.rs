//! Anthropic.

use std::sync::Arc;

use crate::{
    adapters::{
        auth_schemes::anthropic::{AUTH, AnthropicKey, MAX_TOKENS, WAYS},
        dialects::{
            anthropic::{AnthropicDialect, BETAS, VERSION, VERSIONS},
            translated::Chat,
        },
    },
    application::registry::Profile,
    domain::{
        interface::Capability,
        snapshot::{Need, OptionFacts, StrategyFacts},
        vendor::BaseUrl,
    },
    ports::transport::Transport,
};

pub(super) fn profile(transport: Arc<dyn Transport>) -> anyhow::Result<Profile> {
    let option = |name, values| OptionFacts {
        name,
        need: Need::Optional,
        values,
    };
    Ok(Profile {
        name: "anthropic",
        codecs: vec![(Capability::Chat, Arc::new(Chat(AnthropicDialect)))],
        instead: Vec::new(),
        scheme: Arc::new(AnthropicKey),
        transport,
        default_base_url: Some(BaseUrl::parse("https://api.anthropic.com")?),
        facts: StrategyFacts {
            capabilities: vec![Capability::Chat],
            base_url: Need::Optional,
            pool: Need::Optional,
            app_id: Need::Unused,
            secret_id: Need::Unused,
            secret_key: Need::Required,
            options: vec![
                option(AUTH, &WAYS),
                option(VERSION, &VERSIONS),
                option(MAX_TOKENS, &[]),
                option(BETAS, &[]),
            ],
        },
    })
}
