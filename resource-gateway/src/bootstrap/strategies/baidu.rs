//! Baidu AIP.

use std::sync::Arc;

use crate::{
    adapters::{
        auth_schemes::baidu_aip::{AUTH, BaiduAip, SIGNS, TOKEN_URL},
        dialects::baidu::{BaiduFaces, BaiduLabels, BaiduModeration, BaiduOcr, BaiduSpeech, BaiduTranscription},
    },
    application::registry::Profile,
    domain::{
        interface::Capability,
        snapshot::{Need, OptionFacts, StrategyFacts},
        vendor::BaseUrl,
    },
    ports::{codec::Codec, transport::Transport},
};

/// Speech has hosts of its own; a base URL stands for all of them, and `token_url` for the place where tokens are bought.
pub(super) fn profile(transport: Arc<dyn Transport>) -> anyhow::Result<Profile> {
    let codecs: Vec<(Capability, Arc<dyn Codec>)> = vec![
        (Capability::Transcription, Arc::new(BaiduTranscription)),
        (Capability::Speech, Arc::new(BaiduSpeech)),
        (Capability::Ocr, Arc::new(BaiduOcr)),
        (Capability::Labels, Arc::new(BaiduLabels)),
        (Capability::Faces, Arc::new(BaiduFaces)),
        (Capability::Moderation, Arc::new(BaiduModeration)),
    ];
    let option = |name, values| OptionFacts {
        name,
        need: Need::Optional,
        values,
    };
    Ok(Profile {
        name: "baidu",
        facts: StrategyFacts {
            capabilities: codecs.iter().map(|(capability, _)| *capability).collect(),
            base_url: Need::Optional,
            pool: Need::Optional,
            app_id: Need::Optional,
            secret_id: Need::Required,
            secret_key: Need::Required,
            options: vec![option(AUTH, &[SIGNS]), option(TOKEN_URL, &[])],
        },
        codecs,
        instead: Vec::new(),
        scheme: Arc::new(BaiduAip),
        transport,
        default_base_url: Some(BaseUrl::parse("https://aip.baidubce.com")?),
    })
}
