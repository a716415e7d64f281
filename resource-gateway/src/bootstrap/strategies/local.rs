//! The vendor on this machine.

use std::sync::Arc;

use crate::{
    adapters::{
        auth_schemes::Unsigned,
        dialects::{
            normalised::Normalised,
            openai::{OpenAiSpeech, OpenAiTranscription},
        },
        local_engines::{Bounds, LocalEngines},
    },
    application::registry::Profile,
    bootstrap::Ambient,
    domain::{
        interface::Capability,
        snapshot::{Need, StrategyFacts},
        vendor::BaseUrl,
    },
};

/// Tesseract, eSpeak NG and PocketSphinx, installed or not.
pub(super) fn profile(ambient: &Ambient) -> anyhow::Result<Profile> {
    Ok(Profile {
        name: "local",
        codecs: vec![
            (Capability::Ocr, Arc::new(Normalised::OCR)),
            (Capability::Speech, Arc::new(OpenAiSpeech)),
            (Capability::Transcription, Arc::new(OpenAiTranscription)),
        ],
        instead: Vec::new(),
        scheme: Arc::new(Unsigned),
        transport: Arc::new(engines(ambient)),
        // Nothing is sent there; the name is reserved for that (RFC 2606 §2).
        default_base_url: Some(BaseUrl::parse("http://local.invalid")?),
        facts: StrategyFacts {
            capabilities: vec![Capability::Ocr, Capability::Speech, Capability::Transcription],
            base_url: Need::Unused,
            pool: Need::Unused,
            app_id: Need::Unused,
            secret_id: Need::Unused,
            secret_key: Need::Unused,
            options: Vec::new(),
        },
    })
}

/// The engines, wherever they are installed.
pub(in crate::bootstrap) fn engines(ambient: &Ambient) -> LocalEngines {
    LocalEngines::new(ambient.programs.clone(), Bounds::default())
}
