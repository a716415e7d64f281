//! Opaque access tokens: `hga_` and the claims of a JWT, sealed instead of signed.
//!
//! Nobody but the provider can read one, so a resource server has to ask; and as the token carries all that there is to say, nothing is
//! stored for it and nothing is looked up. A key derived from the master key seals, so every node opens every token.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use token_keys::SealingKey;

use crate::application::token_error::TokenError;

/// For secret scanners, and to tell such a token from a JWT.
const PREFIX: &str = "hga_";
/// Longer ones are refused before any work is done.
const MAX_BYTES: usize = 16 * 1024;

/// Makes and reads opaque access tokens.
#[derive(Debug, Clone)]
pub struct OpaqueTokens {
    key: SealingKey,
    /// Sealed in, so that a token is good for the issuer that made it and no other.
    issuer: String,
}

impl OpaqueTokens {
    /// `key` is derived from the master key for this purpose alone.
    pub fn new(key: SealingKey, issuer: &str) -> Self {
        Self {
            key,
            issuer: issuer.to_owned(),
        }
    }

    /// The token that says these claims.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn seal(&self, claims: &[u8]) -> Result<String, TokenError> {
        let sealed = self.key.seal(self.issuer.as_bytes(), claims);
        let mut token = PREFIX.to_owned();
        URL_SAFE_NO_PAD.encode_string(sealed.map_err(TokenError::internal)?, &mut token);
        Ok(token)
    }

    /// Whether a token is to be one of these, by its looks.
    pub fn is_opaque(token: &str) -> bool {
        token.starts_with(PREFIX)
    }

    /// What the token says, if it is one of ours.
    pub fn open(&self, token: &str) -> Option<Map<String, Value>> {
        let text = token.strip_prefix(PREFIX).filter(|text| text.len() <= MAX_BYTES)?;
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let claims = self.key.unseal(self.issuer.as_bytes(), &sealed).ok()?;
        serde_json::from_slice(&claims).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use token_keys::MasterKey;

    fn tokens(master: &MasterKey, issuer: &str) -> OpaqueTokens {
        OpaqueTokens::new(master.sealing("opaque-access-token").unwrap(), issuer)
    }

    fn master() -> MasterKey {
        MasterKey::load_or_create(tempfile::tempdir().unwrap().path()).unwrap()
    }

    #[test]
    fn a_token_says_what_was_sealed_to_the_issuer_that_made_it() {
        let master = master();
        let ours = tokens(&master, "https://op.example");
        let token = ours.seal(br#"{"sub":"a"}"#).unwrap();
        assert!(OpaqueTokens::is_opaque(&token));
        assert_eq!(ours.open(&token).unwrap()["sub"], "a");
        assert_eq!(tokens(&master, "https://other.example").open(&token), None);
        assert_eq!(tokens(&super::tests::master(), "https://op.example").open(&token), None);
    }

    #[test]
    fn a_token_reads_in_one_spelling_only() {
        let ours = tokens(&master(), "https://op.example");
        for claims in [&b"{}"[..], br#"{"a":1}"#, br#"{"ab":1}"#] {
            let token = ours.seal(claims).unwrap();
            for at in 0..token.len() {
                for other in ['A', 'B', '_', '=', ' '] {
                    let mut changed = token.clone();
                    changed.replace_range(at..=at, other.encode_utf8(&mut [0; 4]));
                    assert!(changed == token || ours.open(&changed).is_none(), "{changed}");
                }
            }
            assert_eq!(ours.open(&format!("{token}=")), None);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_or_opens(text in "\\PC{0,80}|hga_[A-Za-z0-9_-]{0,120}") {
            prop_assert_eq!(tokens(&master(), "https://op.example").open(&text), None);
        }
    }
}
