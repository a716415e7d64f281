//! The secrets that news are signed with, after Standard Webhooks.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::SecretString;
use sha2::Sha256;
use token_keys::MacKey;

/// One secret for each receiver, derived and not stored: every node knows it.
#[derive(Debug)]
pub struct WebhookSigner(MacKey);

impl WebhookSigner {
    /// A key for one kind of news.
    pub fn new(key: MacKey) -> Self {
        Self(key)
    }

    fn bytes(&self, receiver: &[&str]) -> Option<[u8; 32]> {
        let parts: Vec<_> = receiver.iter().map(|part| part.as_bytes()).collect();
        self.0.mac(&parts).ok()
    }

    /// The secret as libraries take it. `None` when OpenSSL refuses.
    pub fn show(&self, receiver: &[&str]) -> Option<SecretString> {
        let secret = format!("whsec_{}", STANDARD.encode(self.bytes(receiver)?));
        Some(secret.into())
    }

    /// The headers of a message.
    pub(super) fn headers(
        &self,
        receiver: &[&str],
        id: &str,
        timestamp: i64,
        body: &str,
    ) -> Option<[(&'static str, String); 3]> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.bytes(receiver)?).ok()?;
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        Some([
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", signature),
        ])
    }
}
