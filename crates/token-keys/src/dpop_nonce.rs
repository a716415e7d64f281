//! Nonces for DPoP proofs (RFC 9449 §8) that need no storage.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::{error::ErrorStack, memcmp};

use crate::master::MacKey;

/// Octets of the slot's number and of the MAC behind it: 128 bits that nobody guesses.
const SLOT: usize = 8;
const MAC: usize = 16;

/// Mints and recognises DPoP nonces. A nonce is the number of a time slot and its MAC, so every node that has the key knows every
/// nonce, and a restart forgets none. One nonce serves all clients of its slot: RFC 9449 §8 wants it unpredictable and fresh, not
/// used once; that a proof is used once is the business of its `jti`.
#[derive(Debug, Clone)]
pub struct DpopNonces {
    key: MacKey,
    slot_seconds: i64,
}

/// What a nonce is worth now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonceVerdict {
    Fresh,
    /// Still good; the answer does well to bring the next one (RFC 9449 §8.2).
    Ageing,
    /// Too old or not ours: the answer is `use_dpop_nonce`, with a fresh one.
    Refused,
}

impl DpopNonces {
    /// `slot` is how long a nonce is handed out; it is good for one slot more. Less than a second counts as one.
    pub fn new(key: MacKey, slot: Duration) -> Self {
        Self {
            key,
            slot_seconds: i64::try_from(slot.as_secs()).unwrap_or(i64::MAX).max(1),
        }
    }

    /// The nonce to hand out now (seconds since the epoch).
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn mint(&self, now: i64) -> Result<String, ErrorStack> {
        Ok(URL_SAFE_NO_PAD.encode(self.nonce(now.div_euclid(self.slot_seconds))?))
    }

    /// Judges a nonce that came back.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn judge(&self, nonce: &str, now: i64) -> Result<NonceVerdict, ErrorStack> {
        let current = now.div_euclid(self.slot_seconds);
        let mut given = [0; SLOT + MAC];
        if nonce.len() != given.len() / 3 * 4 || URL_SAFE_NO_PAD.decode_slice_unchecked(nonce, &mut given).is_err() {
            return Ok(NonceVerdict::Refused);
        }
        for (slot, verdict) in [
            (current, NonceVerdict::Fresh),
            (current.saturating_sub(1), NonceVerdict::Ageing),
            // Minted by a node whose clock is a little ahead of ours.
            (current.saturating_add(1), NonceVerdict::Fresh),
        ] {
            if memcmp::eq(&self.nonce(slot)?, &given) {
                return Ok(verdict);
            }
        }
        Ok(NonceVerdict::Refused)
    }

    fn nonce(&self, slot: i64) -> Result<[u8; SLOT + MAC], ErrorStack> {
        let slot = slot.to_be_bytes();
        let mac = self.key.mac(&[b"dpop-nonce", &slot])?;
        let mut nonce = [0; SLOT + MAC];
        for (to, from) in nonce.iter_mut().zip(slot.iter().chain(&mac)) {
            *to = *from;
        }
        Ok(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MasterKey;
    use proptest::prelude::*;

    fn nonces() -> (tempfile::TempDir, DpopNonces) {
        let dir = tempfile::tempdir().unwrap();
        let key = MasterKey::load_or_create(dir.path()).unwrap().derive("dpop").unwrap();
        (dir, DpopNonces::new(key, Duration::from_secs(300)))
    }

    #[test]
    fn a_nonce_is_good_for_its_slot_and_the_next() {
        let (_dir, nonces) = nonces();
        let nonce = nonces.mint(600).unwrap();
        assert_eq!(nonce, nonces.mint(899).unwrap());
        assert_ne!(nonce, nonces.mint(900).unwrap());
        for (now, verdict) in [
            (299, NonceVerdict::Refused),
            (300, NonceVerdict::Fresh),
            (600, NonceVerdict::Fresh),
            (899, NonceVerdict::Fresh),
            (900, NonceVerdict::Ageing),
            (1199, NonceVerdict::Ageing),
            (1200, NonceVerdict::Refused),
        ] {
            assert_eq!(nonces.judge(&nonce, now).unwrap(), verdict, "{now}");
        }
    }

    #[test]
    fn only_what_this_key_minted_is_a_nonce() {
        let (_dir, nonces) = nonces();
        let (_other_dir, others) = self::nonces();
        assert_eq!(
            nonces.judge(&others.mint(600).unwrap(), 600).unwrap(),
            NonceVerdict::Refused
        );
        let good = URL_SAFE_NO_PAD.decode(nonces.mint(600).unwrap()).unwrap();
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            let verdict = nonces.judge(&URL_SAFE_NO_PAD.encode(changed), 600).unwrap();
            assert_eq!(verdict, NonceVerdict::Refused, "{at}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[A-Za-z0-9_-]{32}", now in any::<i64>()) {
            let (_dir, nonces) = nonces();
            prop_assert_eq!(nonces.judge(&text, now).unwrap(), NonceVerdict::Refused);
            prop_assert_eq!(nonces.judge(&nonces.mint(now).unwrap(), now).unwrap(), NonceVerdict::Fresh);
        }
    }
}
