//! What this version can do, and by whom: the one place that knows the names of strategies.

mod anthropic;
mod baidu;
pub(super) mod local;
mod tencent;

use std::sync::Arc;

use super::Ambient;
use crate::{
    adapters::{
        auth_schemes::{Bearer, OptionHeaders, Unsigned, sigv4::SigV4},
        dialects::{
            bedrock::{BedrockChat, BedrockEmbeddings},
            normalised::Normalised,
            openai::{
                OpenAiDialect, OpenAiEmbeddings, OpenAiImages, OpenAiModerations, OpenAiSpeech, OpenAiTranscription,
            },
            raw::PassedOn,
            translated::Chat,
        },
        sandbox::{RAW_BASE, Sandbox},
        upstream::HyperTransport,
        vocabulary::Vocabulary,
    },
    application::registry::{Profile, Registry},
    domain::{
        interface::Capability,
        snapshot::{Need, OptionFacts, StrategyFacts},
        vendor::BaseUrl,
    },
    ports::{codec::Codec, transport::Transport},
};

/// Every strategy of this version. Vendors may be certified by authorities in `extra_ca` (PEM).
pub fn registry(ambient: &Ambient, extra_ca: Option<&[u8]>) -> anyhow::Result<Registry> {
    let mut openai = openai_codecs();
    let mut sandbox: Vec<_> = openai.iter().cloned().chain(normalised_codecs()).collect();
    openai.push((Capability::Raw, Arc::new(PassedOn::below(""))));
    sandbox.push((Capability::Raw, Arc::new(PassedOn::below(RAW_BASE))));
    let http: Arc<dyn Transport> = Arc::new(HyperTransport::new(extra_ca)?);
    let facts = |codecs: &[(Capability, Arc<dyn Codec>)], base_url, pool, secret_key| StrategyFacts {
        capabilities: codecs.iter().map(|(capability, _)| *capability).collect(),
        base_url,
        pool,
        app_id: Need::Unused,
        secret_id: Need::Unused,
        secret_key,
        options: Vec::new(),
    };
    Ok(Registry::new(vec![
        bedrock(Arc::clone(&http)),
        anthropic::profile(Arc::clone(&http))?,
        Profile {
            name: "openai",
            facts: StrategyFacts {
                options: OPENAI_ACCOUNT.iter().map(|(name, _)| optional(name)).collect(),
                ..facts(&openai, Need::Optional, Need::Optional, Need::Optional)
            },
            codecs: openai,
            scheme: Arc::new(OptionHeaders(Bearer, &OPENAI_ACCOUNT)),
            transport: Arc::clone(&http),
            default_base_url: Some(BaseUrl::parse("https://api.openai.com/v1")?),
        },
        baidu::profile(Arc::clone(&http))?,
        tencent::profile(Arc::clone(&http))?,
        Profile {
            name: "sandbox",
            facts: facts(&sandbox, Need::Unused, Need::Unused, Need::Unused),
            codecs: sandbox,
            scheme: Arc::new(Unsigned),
            transport: Arc::new(Sandbox::new(Arc::clone(&ambient.clock), Arc::new(Vocabulary))),
            // Nothing is sent there; the name is reserved for that (RFC 2606 §2).
            default_base_url: Some(BaseUrl::parse("http://sandbox.invalid")?),
        },
        local::profile(ambient)?,
    ]))
}

/// On whose account calls are, where a key is good for several.
const OPENAI_ACCOUNT: [(&str, &str); 2] = [("organization", "openai-organization"), ("project", "openai-project")];

/// An option that need not be set, and may be any text.
fn optional(name: &'static str) -> OptionFacts {
    OptionFacts {
        name,
        need: Need::Optional,
        values: &[],
    }
}

/// AWS Bedrock, signed with an access key or called with an API key.
fn bedrock(transport: Arc<dyn Transport>) -> Profile {
    Profile {
        name: "bedrock",
        codecs: vec![
            (Capability::Chat, Arc::new(Chat(BedrockChat))),
            (Capability::Embeddings, Arc::new(BedrockEmbeddings)),
        ],
        scheme: Arc::new(SigV4 { service: "bedrock" }),
        transport,
        // Its homes are one for each region.
        default_base_url: None,
        facts: StrategyFacts {
            capabilities: vec![Capability::Chat, Capability::Embeddings],
            base_url: Need::Optional,
            pool: Need::Optional,
            app_id: Need::Unused,
            secret_id: Need::Optional,
            secret_key: Need::Required,
            options: vec![OptionFacts {
                name: "region",
                need: Need::Required,
                values: &[],
            }],
        },
    }
}

/// What OpenAI's format has a request for.
fn openai_codecs() -> Vec<(Capability, Arc<dyn Codec>)> {
    vec![
        (Capability::Chat, Arc::new(Chat(OpenAiDialect))),
        (Capability::Embeddings, Arc::new(OpenAiEmbeddings)),
        (Capability::Transcription, Arc::new(OpenAiTranscription)),
        (Capability::Speech, Arc::new(OpenAiSpeech)),
        (Capability::Image, Arc::new(OpenAiImages)),
        (Capability::Moderation, Arc::new(OpenAiModerations)),
    ]
}

/// What it has none for.
fn normalised_codecs() -> Vec<(Capability, Arc<dyn Codec>)> {
    vec![
        (Capability::Ocr, Arc::new(Normalised::OCR)),
        (Capability::Labels, Arc::new(Normalised::LABELS)),
        (Capability::Faces, Arc::new(Normalised::FACES)),
        (Capability::Rerank, Arc::new(Normalised::RERANK)),
    ]
}
