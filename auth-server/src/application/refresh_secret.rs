//! Refresh tokens as text: `hgr_<grant>.<generation>.<mac>`.
//!
//! The database holds no token and no digest of one, only the family's current generation: a stolen database mints nothing, and the
//! reply to a refresh can be made again without having been stored.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use token_keys::MacKey;

use crate::{application::token_error::TokenError, domain::ids::GrantId};

const PREFIX: &str = "hgr_";

/// Makes and reads refresh tokens.
#[derive(Debug, Clone)]
pub struct RefreshSecrets {
    key: MacKey,
}

impl RefreshSecrets {
    /// `key` is derived from the master key for this purpose alone.
    pub fn new(key: MacKey) -> Self {
        Self { key }
    }

    /// The token of one generation of one family.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn token(&self, grant: &GrantId, generation: i64) -> Result<String, TokenError> {
        let mac = self.mac(grant.as_str(), generation)?;
        Ok(format!("{PREFIX}{grant}.{generation}.{}", URL_SAFE_NO_PAD.encode(mac)))
    }

    /// The family and generation that a token names, if the token is one of ours.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn read(&self, token: &str) -> Result<Option<(GrantId, i64)>, TokenError> {
        let Some((grant, generation, mac)) = split(token) else {
            return Ok(None);
        };
        let parts = [grant.as_bytes(), &generation.to_be_bytes()[..]];
        let genuine = self.key.verify(&parts, &mac).map_err(TokenError::internal)?;
        Ok(genuine.then(|| (GrantId::new(grant), generation)))
    }

    fn mac(&self, grant: &str, generation: i64) -> Result<[u8; 32], TokenError> {
        self.key
            .mac(&[grant.as_bytes(), &generation.to_be_bytes()])
            .map_err(TokenError::internal)
    }
}

fn split(token: &str) -> Option<(&str, i64, Vec<u8>)> {
    let (grant, rest) = token.strip_prefix(PREFIX)?.split_once('.')?;
    let (generation, mac) = rest.split_once('.')?;
    Some((grant, generation.parse().ok()?, URL_SAFE_NO_PAD.decode(mac).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secrets() -> (tempfile::TempDir, RefreshSecrets) {
        let dir = tempfile::tempdir().unwrap();
        let key = token_keys::MasterKey::load_or_create(dir.path())
            .unwrap()
            .derive("refresh-token")
            .unwrap();
        (dir, RefreshSecrets::new(key))
    }

    #[test]
    fn a_token_names_its_family_and_generation_and_no_other_can_be_made_from_it() {
        let (_dir, secrets) = secrets();
        let token = secrets.token(&GrantId::new("g1"), 7).unwrap();
        assert_eq!(secrets.read(&token).unwrap(), Some((GrantId::new("g1"), 7)));
        assert_eq!(secrets.read(&token.replace(".7.", ".8.")).unwrap(), None);
        assert_eq!(secrets.read(&token.replace("g1", "g2")).unwrap(), None);
        assert_eq!(token, secrets.token(&GrantId::new("g1"), 7).unwrap());
    }

    proptest! {
        #[test]
        fn no_text_panics_or_passes(text in "\\PC{0,80}|hgr_[a-z0-9]{0,9}\\.[0-9]{0,20}\\.[A-Za-z0-9_-]{0,50}") {
            let (_dir, secrets) = secrets();
            prop_assert_eq!(secrets.read(&text).unwrap(), None);
        }
    }
}
