//! Alibaba's DashScope, in its own format.

use std::sync::Arc;

use crate::{
    adapters::{
        auth_schemes::{Bearer, OptionHeaders},
        dialects::{
            dashscope::{
                DashScopeChat, DashScopeEmbeddings, DashScopeImages, DashScopeRerank, DashScopeSpeech,
                DashScopeTranscription,
            },
            raw::PassedOn,
            translated::Chat,
        },
    },
    application::registry::Profile,
    domain::{
        interface::Capability,
        snapshot::{Need, OptionFacts, StrategyFacts},
        vendor::BaseUrl,
    },
    ports::{codec::Codec, transport::Transport},
};

/// Calls are on the account of a workspace where a key is good for several.
const WORKSPACE: [(&str, &str); 1] = [("workspace", "x-dashscope-workspace")];

pub(super) fn profile(http: &Arc<dyn Transport>) -> anyhow::Result<Profile> {
    let codecs: Vec<(Capability, Arc<dyn Codec>)> = vec![
        (Capability::Chat, Arc::new(Chat(DashScopeChat))),
        (Capability::Embeddings, Arc::new(DashScopeEmbeddings)),
        (Capability::Rerank, Arc::new(DashScopeRerank)),
        (Capability::Image, Arc::new(DashScopeImages)),
        (Capability::Speech, Arc::new(DashScopeSpeech)),
        (Capability::Transcription, Arc::new(DashScopeTranscription)),
        (Capability::Raw, Arc::new(PassedOn::below(""))),
    ];
    let options = WORKSPACE.iter().map(|(name, _)| OptionFacts {
        name,
        need: Need::Optional,
        values: &[],
    });
    Ok(Profile {
        name: "dashscope",
        facts: StrategyFacts {
            capabilities: codecs.iter().map(|(capability, _)| *capability).collect(),
            base_url: Need::Optional,
            pool: Need::Optional,
            app_id: Need::Unused,
            secret_id: Need::Unused,
            secret_key: Need::Optional,
            options: options.collect(),
        },
        codecs,
        instead: Vec::new(),
        scheme: Arc::new(OptionHeaders(Bearer, &WORKSPACE)),
        transport: Arc::clone(http),
        default_base_url: Some(BaseUrl::parse("https://dashscope.aliyuncs.com")?),
    })
}
