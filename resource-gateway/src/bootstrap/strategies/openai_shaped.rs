//! Vendors that speak OpenAI's format in their own way: a row each.

use std::sync::Arc;

use crate::{
    adapters::{
        auth_schemes::{
            Bearer, TOKEN_SECONDS, ark_key, ark_key::ArkKey, azure, azure::Azure, qianfan_iam, qianfan_iam::QianfanKey,
            zhipu_jwt,
        },
        dialects::{
            normalised::Normalised,
            openai::{
                OpenAiEmbeddings, OpenAiImages, OpenAiSpeech, OpenAiTranscription,
                quirks::{API_VERSION, Quirks, Shaped, ShapedDialect},
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
    ports::{
        codec::{AuthScheme, Codec},
        transport::Transport,
    },
};

/// A vendor.
struct Row {
    name: &'static str,
    quirks: &'static Quirks,
    /// `None` where each customer has a host.
    base_url: Option<&'static str>,
    /// Beside chat.
    capabilities: &'static [Capability],
    scheme: Arc<dyn AuthScheme>,
    app_id: Need,
    /// Whether the credential can be an access key.
    secret_id: Need,
    options: Vec<OptionFacts>,
}

const fn optional(name: &'static str, values: &'static [&'static str]) -> OptionFacts {
    OptionFacts {
        name,
        need: Need::Optional,
        values,
    }
}

impl Row {
    fn of(name: &'static str, quirks: &'static Quirks, base_url: &'static str) -> Self {
        Self {
            name,
            quirks,
            base_url: Some(base_url),
            capabilities: &[],
            scheme: Arc::new(Bearer),
            app_id: Need::Unused,
            secret_id: Need::Unused,
            options: Vec::new(),
        }
    }

    fn all() -> Vec<Self> {
        use Capability::{Embeddings, Image, Rerank, Speech, Transcription};
        vec![
            Self {
                base_url: None,
                capabilities: &[Embeddings, Transcription, Speech, Image],
                scheme: Arc::new(Azure),
                options: vec![
                    OptionFacts {
                        name: API_VERSION,
                        need: Need::Required,
                        values: &[],
                    },
                    optional(azure::AUTH, &[azure::ENTRA]),
                ],
                ..Self::of("azure-openai", &Quirks::AZURE, "")
            },
            Self::of("deepseek", &Quirks::DEEPSEEK, "https://api.deepseek.com"),
            Self::of("moonshot", &Quirks::MOONSHOT, "https://api.moonshot.cn/v1"),
            Self {
                capabilities: &[Embeddings],
                scheme: Arc::new(zhipu_jwt::Zhipu),
                options: vec![optional(zhipu_jwt::AUTH, &[zhipu_jwt::JWT])],
                ..Self::of("zhipu", &Quirks::ZHIPU, "https://open.bigmodel.cn/api/paas/v4")
            },
            Self {
                capabilities: &[Embeddings, Image],
                scheme: Arc::new(ArkKey),
                secret_id: Need::Optional,
                options: vec![
                    optional(ark_key::REGION, &[]),
                    optional(ark_key::ENDPOINTS, &[]),
                    optional(TOKEN_SECONDS, &[]),
                ],
                ..Self::of(
                    "volcengine-ark",
                    &Quirks::VOLCENGINE,
                    "https://ark.cn-beijing.volces.com/api/v3",
                )
            },
            Self {
                capabilities: &[Embeddings],
                ..Self::of("mistral", &Quirks::MISTRAL, "https://api.mistral.ai/v1")
            },
            Self {
                capabilities: &[Embeddings, Image, Rerank],
                scheme: Arc::new(QianfanKey),
                app_id: Need::Optional,
                secret_id: Need::Optional,
                options: vec![
                    optional(qianfan_iam::AUTH, &[qianfan_iam::BUYS, qianfan_iam::SIGNS]),
                    optional(TOKEN_SECONDS, &[]),
                ],
                ..Self::of("qianfan", &Quirks::QIANFAN, "https://qianfan.baidubce.com/v2")
            },
            Self::of("spark", &Quirks::SPARK, "https://spark-api-open.xf-yun.com/v1"),
            Self {
                capabilities: &[Embeddings],
                ..Self::of(
                    "dashscope-compatible",
                    &Quirks::DASHSCOPE,
                    "https://dashscope.aliyuncs.com/compatible-mode/v1",
                )
            },
            Self {
                capabilities: &[Embeddings],
                ..Self::of(
                    "hunyuan-compatible",
                    &Quirks::HUNYUAN,
                    "https://api.hunyuan.cloud.tencent.com/v1",
                )
            },
        ]
    }

    fn codecs(&self) -> Vec<(Capability, Arc<dyn Codec>)> {
        let quirks = self.quirks;
        let mut codecs: Vec<(Capability, Arc<dyn Codec>)> =
            vec![(Capability::Chat, Arc::new(Chat(ShapedDialect::new(quirks))))];
        for capability in self.capabilities {
            let codec: &'static dyn Codec = match capability {
                Capability::Embeddings => &OpenAiEmbeddings,
                Capability::Image => &OpenAiImages,
                Capability::Speech => &OpenAiSpeech,
                Capability::Transcription => &OpenAiTranscription,
                Capability::Rerank => &Normalised::RERANK,
                _ => continue,
            };
            codecs.push((*capability, Arc::new(Shaped { quirks, codec })));
        }
        codecs.push((Capability::Raw, Arc::new(PassedOn::below(""))));
        codecs
    }

    fn profile(self, http: &Arc<dyn Transport>) -> anyhow::Result<Profile> {
        let codecs = self.codecs();
        let base_url = self.base_url.filter(|url| !url.is_empty());
        Ok(Profile {
            name: self.name,
            facts: StrategyFacts {
                capabilities: codecs.iter().map(|(capability, _)| *capability).collect(),
                base_url: base_url.map_or(Need::Required, |_| Need::Optional),
                pool: Need::Optional,
                app_id: self.app_id,
                secret_id: self.secret_id,
                secret_key: Need::Optional,
                options: self.options,
            },
            codecs,
            instead: Vec::new(),
            scheme: self.scheme,
            transport: Arc::clone(http),
            default_base_url: base_url.map(BaseUrl::parse).transpose()?,
        })
    }
}

/// All of them.
pub(super) fn profiles(http: &Arc<dyn Transport>) -> anyhow::Result<Vec<Profile>> {
    Row::all().into_iter().map(|row| row.profile(http)).collect()
}
