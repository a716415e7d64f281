//! The secrets that news of jobs are signed with, after Standard Webhooks.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::SecretString;
use sha2::Sha256;
use token_keys::MacKey;

use crate::domain::job::Owner;

/// One secret for each owner, derived and not stored: every node knows it, and whoever may see a job can verify its news, nobody else.
#[derive(Debug)]
pub struct WebhookSecrets(MacKey);

impl WebhookSecrets {
    /// What the key is derived for.
    pub const PURPOSE: &'static str = "job-webhook";

    pub fn new(key: MacKey) -> Self {
        Self(key)
    }

    fn bytes(&self, owner: &Owner) -> Option<[u8; 32]> {
        let parts = [owner.tenant_text(), owner.client_id.as_str(), owner.sub.as_str()];
        self.0.mac(&parts.map(str::as_bytes)).ok()
    }

    /// As libraries take it. `None` when OpenSSL refuses.
    pub fn show(&self, owner: &Owner) -> Option<SecretString> {
        let secret = format!("whsec_{}", STANDARD.encode(self.bytes(owner)?));
        Some(secret.into())
    }

    /// The header `webhook-signature` of a message.
    pub(super) fn sign(&self, owner: &Owner, id: &str, timestamp: i64, body: &str) -> Option<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.bytes(owner)?).ok()?;
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }
}
