//! The secrets that news of jobs are signed with.

use secrecy::SecretString;
use token_keys::MacKey;

use crate::{application::webhook_signer::WebhookSigner, domain::job::Owner};

/// One secret for each owner: whoever may see a job can verify its news, nobody else.
#[derive(Debug)]
pub struct WebhookSecrets(WebhookSigner);

impl WebhookSecrets {
    /// What the key is derived for.
    pub const PURPOSE: &'static str = "job-webhook";

    pub fn new(key: MacKey) -> Self {
        Self(WebhookSigner::new(key))
    }

    /// As libraries take it. `None` when OpenSSL refuses.
    pub fn show(&self, owner: &Owner) -> Option<SecretString> {
        self.0.show(&receiver(owner))
    }

    /// The headers of a message.
    pub(super) fn headers(
        &self,
        owner: &Owner,
        id: &str,
        timestamp: i64,
        body: &str,
    ) -> Option<[(&'static str, String); 3]> {
        self.0.headers(&receiver(owner), id, timestamp, body)
    }
}

fn receiver(owner: &Owner) -> [&str; 3] {
    [owner.tenant_text(), owner.client_id.as_str(), owner.sub.as_str()]
}
