//! Ids that tell by themselves whether they were minted here.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use service_kit::Entropy;
use token_keys::MacKey;

use crate::domain::{access_key::ID_PREFIX, ids::AccessKeyId};

const UNIQUE: usize = 16;
const TAG: usize = 8;

/// Mints ids and knows its own: 128 random bits, and 64 bits of a keyed hash of them. So an id that somebody made up costs a hash
/// and no look-up, however many are made up.
#[derive(Debug, Clone)]
pub struct KeyIds(MacKey);

impl KeyIds {
    /// What the key is derived for (`MasterKey::derive`).
    pub const PURPOSE: &str = "access-key-id";

    pub fn new(key: MacKey) -> Self {
        Self(key)
    }

    /// A new id; `None` when OpenSSL fails.
    pub fn mint(&self, entropy: &dyn Entropy) -> Option<AccessKeyId> {
        let mut unique = [0; UNIQUE];
        entropy.fill(&mut unique);
        let mac = self.0.mac(&[&unique]).ok()?;
        let text = URL_SAFE_NO_PAD.encode([&unique[..], mac.get(..TAG)?].concat());
        Some(AccessKeyId::new(format!("{ID_PREFIX}{text}")))
    }

    /// Whether an id was minted by this installation.
    pub fn knows(&self, id: &str) -> bool {
        let Some(text) = id.strip_prefix(ID_PREFIX) else {
            return false;
        };
        let mut bytes = [0; UNIQUE + TAG];
        let Ok(length) = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) else {
            return false;
        };
        let (unique, tag) = bytes.split_at(UNIQUE);
        length == bytes.len() && self.0.mac(&[unique]).is_ok_and(|mac| mac.starts_with(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use service_kit::SystemEntropy;
    use token_keys::MasterKey;

    fn ids() -> KeyIds {
        let dir = tempfile::tempdir().unwrap();
        let master = MasterKey::load_or_create(dir.path()).unwrap();
        KeyIds::new(master.derive(KeyIds::PURPOSE).unwrap())
    }

    #[test]
    fn only_ids_that_were_minted_here_are_known() {
        let (ours, theirs) = (ids(), ids());
        let id = ours.mint(&SystemEntropy).unwrap();
        assert!(ours.knows(id.as_str()) && !theirs.knows(id.as_str()));
        assert_ne!(id, ours.mint(&SystemEntropy).unwrap());
        let text = id.as_str();
        assert_eq!(text.len(), 36);
        for at in ID_PREFIX.len()..text.len() {
            let mut changed = text.to_owned();
            let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
            changed.replace_range(at..=at, other);
            assert!(!ours.knows(&changed), "{at}");
        }
        for wrong in [
            "",
            "hgk_",
            &text[4..],
            &text[..35],
            &format!("{text}A"),
            "hgk_ä",
            &"hgk_A".repeat(99),
        ] {
            assert!(!ours.knows(wrong), "{wrong}");
        }
    }
}
