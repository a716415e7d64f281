//! What this version can do, and by whom: the one place that knows the names of strategies.

mod anthropic;
mod baidu;
mod cohere;
mod dashscope;
mod gemini;
pub(super) mod local;
mod ollama;
mod openai_shaped;
mod spark;
mod tencent;

use std::sync::Arc;

use super::Ambient;
use crate::{
    adapters::{
        auth_schemes::{Bearer, OptionHeaders, Unsigned, sigv4::SigV4},
        dialects::{
            bedrock::{BedrockChat, BedrockEmbeddings, BedrockMessages},
            normalised::Normalised,
            openai::{
                OpenAiDialect, OpenAiEmbeddings, OpenAiImages, OpenAiModerations, OpenAiSpeech, OpenAiTranscription,
            },
            raw::PassedOn,
            responses::{self, ResponsesDialect},
            translated::Chat,
        },
        sandbox::{RAW_BASE, Sandbox},
        upstream::HyperTransport,
        vocabulary::Vocabulary,
    },
    application::registry::{Instead, Profile, Registry},
    domain::{
        interface::Capability,
        snapshot::{Need, OptionFacts, StrategyFacts},
        vendor::BaseUrl,
    },
    ports::{
        codec::{AuthScheme, Codec},
        transport::Transport,
    },
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
    let mut profiles = openai_shaped::profiles(&http)?;
    profiles.extend([
        bedrock(Arc::clone(&http)),
        bedrock_anthropic(Arc::clone(&http)),
        anthropic::profile(Arc::clone(&http))?,
        dashscope::profile(&http)?,
        cohere::profile(Arc::clone(&http))?,
        gemini::profile(Arc::clone(&http))?,
        ollama::profile(Arc::clone(&http))?,
        spark::profile(Arc::clone(&http))?,
        Profile {
            name: "openai",
            facts: StrategyFacts {
                options: openai_options(),
                ..facts(&openai, Need::Optional, Need::Optional, Need::Optional)
            },
            codecs: openai,
            instead: vec![Instead {
                option: responses::API,
                value: responses::RESPONSES,
                capability: Capability::Chat,
                codec: Arc::new(Chat(ResponsesDialect)),
            }],
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
            instead: Vec::new(),
            scheme: Arc::new(Unsigned),
            transport: Arc::new(Sandbox::new(Arc::clone(&ambient.clock), Arc::new(Vocabulary))),
            // Nothing is sent there; the name is reserved for that (RFC 2606 §2).
            default_base_url: Some(BaseUrl::parse("http://sandbox.invalid")?),
        },
        local::profile(ambient)?,
    ]);
    Ok(Registry::new(profiles))
}

/// On whose account calls are, where a key is good for several.
const OPENAI_ACCOUNT: [(&str, &str); 2] = [("organization", "openai-organization"), ("project", "openai-project")];

fn openai_options() -> Vec<OptionFacts> {
    let account = OPENAI_ACCOUNT.iter().map(|(name, _)| optional(name));
    let api = OptionFacts {
        name: responses::API,
        need: Need::Optional,
        values: &responses::APIS,
    };
    account.chain([api]).collect()
}

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
    at_bedrock(
        "bedrock",
        vec![
            (Capability::Chat, Arc::new(Chat(BedrockChat))),
            (Capability::Embeddings, Arc::new(BedrockEmbeddings)),
        ],
        transport,
    )
}

/// Anthropic's models there, in their own words.
fn bedrock_anthropic(transport: Arc<dyn Transport>) -> Profile {
    let codecs: Codecs = vec![(Capability::Chat, Arc::new(Chat(BedrockMessages)))];
    at_bedrock("bedrock-anthropic", codecs, transport)
}

type Codecs = Vec<(Capability, Arc<dyn Codec>)>;

fn at_bedrock(name: &'static str, codecs: Codecs, transport: Arc<dyn Transport>) -> Profile {
    Profile {
        name,
        facts: StrategyFacts {
            capabilities: codecs.iter().map(|(capability, _)| *capability).collect(),
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
        codecs,
        instead: Vec::new(),
        scheme: Arc::new(SigV4 { service: "bedrock" }),
        transport,
        // Its homes are one for each region.
        default_base_url: None,
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

/// A strategy as most are: one secret, addresses as the operator likes them, no options.
fn profiled(
    name: &'static str,
    codecs: Vec<(Capability, Arc<dyn Codec>)>,
    scheme: Arc<dyn AuthScheme>,
    transport: Arc<dyn Transport>,
) -> Profile {
    Profile {
        name,
        facts: StrategyFacts {
            capabilities: codecs.iter().map(|(capability, _)| *capability).collect(),
            base_url: Need::Optional,
            pool: Need::Optional,
            app_id: Need::Unused,
            secret_id: Need::Unused,
            secret_key: Need::Required,
            options: Vec::new(),
        },
        codecs,
        instead: Vec::new(),
        scheme,
        transport,
        default_base_url: None,
    }
}
