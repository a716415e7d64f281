//! Tencent Cloud.

use std::sync::Arc;

use crate::{
    adapters::{
        auth_schemes::tc3::{REGION, Tc3},
        dialects::{
            tencent::{
                TencentChat, TencentEmbeddings, TencentFaces, TencentImages, TencentLabels, TencentOcr,
                TencentTranscription,
            },
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

/// Each product has a host of its own; a base URL stands for all of them.
pub(super) fn profile(transport: Arc<dyn Transport>) -> anyhow::Result<Profile> {
    let codecs: Vec<(Capability, Arc<dyn Codec>)> = vec![
        (Capability::Chat, Arc::new(Chat(TencentChat))),
        (Capability::Embeddings, Arc::new(TencentEmbeddings)),
        (Capability::Transcription, Arc::new(TencentTranscription)),
        (Capability::Image, Arc::new(TencentImages)),
        (Capability::Ocr, Arc::new(TencentOcr)),
        (Capability::Labels, Arc::new(TencentLabels)),
        (Capability::Faces, Arc::new(TencentFaces)),
    ];
    Ok(Profile {
        name: "tencent",
        facts: StrategyFacts {
            capabilities: codecs.iter().map(|(capability, _)| *capability).collect(),
            base_url: Need::Optional,
            pool: Need::Optional,
            app_id: Need::Unused,
            secret_id: Need::Required,
            secret_key: Need::Required,
            options: vec![OptionFacts {
                name: REGION,
                need: Need::Optional,
                values: &[],
            }],
        },
        codecs,
        instead: Vec::new(),
        scheme: Arc::new(Tc3),
        transport,
        default_base_url: Some(BaseUrl::parse("https://hunyuan.tencentcloudapi.com")?),
    })
}
