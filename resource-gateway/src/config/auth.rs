//! Whom the gateway trusts.

use std::path::PathBuf;

use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use service_kit::config::Problem;
use url::Url;

/// The provider whose access tokens are accepted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// The provider's issuer identifier, compared byte for byte. Its keys are found by discovery.
    pub issuer: String,
    /// Tokens must be for this audience.
    pub audience: String,
    /// Seconds by which the provider's clock and ours may differ.
    pub leeway_s: u32,
    /// Verified tokens that are remembered at most; one takes about a kilobyte.
    pub token_cache_entries: u64,
    /// Seconds between two looks at the provider's keys. An unknown key is asked for at once.
    pub jwks_refresh_s: u64,
    /// The client by which the revocation feed is fetched when the two services do not share `keys.dir`. It needs the permission
    /// `events:poll`.
    pub client_id: Option<String>,
    /// That client's secret.
    #[schemars(with = "Option<String>")]
    #[serde(serialize_with = "masked")]
    pub client_secret: Option<SecretString>,
    /// File with that client's secret, instead of `client_secret`.
    pub client_secret_file: Option<PathBuf>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            issuer: "http://127.0.0.1:9000".into(),
            audience: "http://127.0.0.1:9100".into(),
            leeway_s: 5,
            token_cache_entries: 10_000,
            jwks_refresh_s: 300,
            client_id: None,
            client_secret: None,
            client_secret_file: None,
        }
    }
}

impl AuthConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        let mut wrong = |path: &str, reason: &str| problems.push(Problem::new(path, reason));
        let is_http =
            Url::parse(&self.issuer).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !is_http {
            wrong("auth.issuer", "must be an http or https URL");
        }
        if self.audience.is_empty() {
            wrong("auth.audience", "must not be empty");
        }
        if self.leeway_s > 300 {
            wrong(
                "auth.leeway_s",
                "must be 300 at most: expired tokens live that much longer",
            );
        }
        if self.token_cache_entries == 0 {
            wrong("auth.token_cache_entries", "must be at least 1");
        }
        if self.jwks_refresh_s == 0 {
            wrong("auth.jwks_refresh_s", "must be at least 1");
        }
        let secret = self.client_secret.is_some() || self.client_secret_file.is_some();
        if self.client_id.is_some() != secret {
            wrong(
                "auth.client_id",
                "and client_secret (or client_secret_file) belong together",
            );
        }
        if self.client_secret.is_some() && self.client_secret_file.is_some() {
            wrong("auth.client_secret_file", "and client_secret cannot both be set");
        }
    }

    /// The client's id and secret, if there are any.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn client(&self) -> std::io::Result<Option<(String, SecretString)>> {
        let Some(client_id) = &self.client_id else {
            return Ok(None);
        };
        let secret = match (&self.client_secret, &self.client_secret_file) {
            (Some(secret), _) => Some(SecretString::from(secret.expose_secret().to_owned())),
            (None, Some(path)) => Some(SecretString::from(std::fs::read_to_string(path)?.trim_end().to_owned())),
            (None, None) => None,
        };
        Ok(secret.map(|secret| (client_id.clone(), secret)))
    }
}

/// Defaults are printed in the reference page; a secret never is.
#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn masked<S: Serializer>(secret: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|_| "[redacted]").serialize(to)
}
