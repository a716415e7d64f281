//! Scopes that permit AI calls: `ai:<capability>` and `ai:<capability>:<interface>`.
//!
//! The provider offers them and asks people about them, the gateway holds calls to them. Both go by this list.

/// What such scopes begin with.
pub const AI_SCOPE: &str = "ai:";

/// The kinds of AI work, as scopes name them.
pub const AI_CAPABILITIES: [&str; 11] = [
    "chat",
    "embeddings",
    "transcription",
    "speech",
    "image",
    "ocr",
    "labels",
    "faces",
    "moderation",
    "rerank",
    "raw",
];

/// The scope that permits every call of a capability.
pub fn ai_scope(capability: &str) -> String {
    format!("{AI_SCOPE}{capability}")
}

/// [`ai_scope`] of every capability.
pub fn ai_scopes() -> impl Iterator<Item = String> {
    AI_CAPABILITIES.into_iter().map(ai_scope)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Scope;

    #[test]
    fn every_capability_has_a_scope_of_its_own() {
        let scopes: BTreeSet<String> = ai_scopes().collect();
        assert_eq!(scopes.len(), AI_CAPABILITIES.len());
        let text = scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        assert_eq!(text.parse::<Scope>().unwrap().iter().count(), scopes.len());
        // What stands behind a second colon is an interface.
        assert!(AI_CAPABILITIES.iter().all(|capability| !capability.contains(':')));
    }
}
