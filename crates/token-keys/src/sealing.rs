//! Sealing in great numbers: for tokens, of which an installation makes billions.

use std::fmt;

use openssl::{
    error::ErrorStack,
    rand::rand_bytes,
    symm::{Cipher, decrypt_aead, encrypt_aead},
};
use zeroize::Zeroizing;

use crate::master::{MacKey, MasterKey, SealError};

/// The half of the nonce that chooses the key, and the half that the cipher gets.
const HALF: usize = 12;
const TAG: usize = 16;

/// Seals values for one purpose (AES-256-GCM). Unlike [`MasterKey::seal`] it may be asked without limit: GCM bears no more than 2³² random
/// nonces under one key (NIST SP 800-38D §8.3), so half of a nonce of 192 bits makes a key of its own by HMAC.
#[derive(Clone)]
pub struct SealingKey(MacKey);

impl MasterKey {
    /// A key that seals for one purpose.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn sealing(&self, purpose: &str) -> Result<SealingKey, ErrorStack> {
        self.derive(&format!("sealing/{purpose}")).map(SealingKey)
    }
}

impl SealingKey {
    /// Seals a value. `place` is authenticated with it: it opens for the same place only.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        let mut nonce = [0; 2 * HALF];
        rand_bytes(&mut nonce)?;
        let (chooses, used) = nonce.split_at(HALF);
        let key = Zeroizing::new(self.0.mac(&[chooses])?);
        let mut tag = [0; TAG];
        let sealed = encrypt_aead(Cipher::aes_256_gcm(), key.as_ref(), Some(used), place, plain, &mut tag)?;
        Ok([&nonce[..], &sealed, &tag].concat())
    }

    /// Opens what [`SealingKey::seal`] sealed for the same place.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn unseal(&self, place: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (chooses, rest) = sealed.split_at_checked(HALF).ok_or(SealError)?;
        let (used, rest) = rest.split_at_checked(HALF).ok_or(SealError)?;
        let at = rest.len().checked_sub(TAG).ok_or(SealError)?;
        let (body, tag) = rest.split_at_checked(at).ok_or(SealError)?;
        let key = Zeroizing::new(self.0.mac(&[chooses]).map_err(|_| SealError)?);
        decrypt_aead(Cipher::aes_256_gcm(), key.as_ref(), Some(used), place, body, tag)
            .map(Zeroizing::new)
            .map_err(|_| SealError)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master() -> MasterKey {
        MasterKey::load_or_create(tempfile::tempdir().unwrap().path()).unwrap()
    }

    #[test]
    fn a_sealed_value_opens_unchanged_for_its_own_purpose_and_place_only() {
        let master = master();
        let key = master.sealing("a").unwrap();
        let sealed = key.seal(b"here", b"value").unwrap();
        assert_eq!(key.unseal(b"here", &sealed).unwrap().as_slice(), b"value");
        assert_eq!(key.unseal(b"there", &sealed), Err(SealError));
        assert_eq!(master.sealing("b").unwrap().unseal(b"here", &sealed), Err(SealError));
        assert_eq!(
            super::tests::master().sealing("a").unwrap().unseal(b"here", &sealed),
            Err(SealError)
        );
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.unseal(b"here", &changed), Err(SealError), "byte {at}");
            assert_eq!(key.unseal(b"here", &sealed[..at]), Err(SealError), "cut at {at}");
        }
    }

    #[test]
    fn the_same_value_looks_different_each_time() {
        let key = master().sealing("a").unwrap();
        assert_ne!(key.seal(b"", b"value").unwrap(), key.seal(b"", b"value").unwrap());
    }
}
