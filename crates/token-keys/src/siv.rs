//! Deterministic sealing: the same value looks the same each time, and yet says nothing and cannot be changed.

use std::fmt;

use openssl::{
    error::ErrorStack,
    memcmp,
    symm::{Cipher, decrypt, encrypt},
};
use zeroize::Zeroizing;

use crate::master::{MacKey, MasterKey, SealError};

/// Octets of the synthetic nonce, which is the tag as well.
const TAG: usize = 16;

/// Seals values for one purpose, each value of a context in one way only (a synthetic initialization vector: Rogaway and Shrimpton,
/// "Deterministic Authenticated-Encryption", 2006; RFC 5297 is its form with CMAC). The nonce of AES-256-CTR is the HMAC-SHA256 of context and
/// value, cut to 128 bits, under another key; opening computes it anew. What an onlooker learns is when two values of one context are the same,
/// and how long they are.
#[derive(Clone)]
pub struct SivKey {
    mac: MacKey,
    cipher: Zeroizing<[u8; 32]>,
}

impl MasterKey {
    /// A key that seals for one purpose in one way only.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn siv(&self, purpose: &str) -> Result<SivKey, ErrorStack> {
        Ok(SivKey {
            mac: self.derive(&format!("siv/{purpose}/mac"))?,
            cipher: self.derive_bytes(&format!("siv/{purpose}/cipher"))?,
        })
    }
}

impl SivKey {
    /// Seals a value. It opens in the same context only.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        let tag = self.tag(context, plain)?;
        let sealed = encrypt(Cipher::aes_256_ctr(), self.cipher.as_ref(), Some(&tag), plain)?;
        Ok([&tag[..], &sealed].concat())
    }

    /// Opens what [`SivKey::seal`] sealed in the same context.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn unseal(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (tag, body) = sealed.split_at_checked(TAG).ok_or(SealError)?;
        let plain = decrypt(Cipher::aes_256_ctr(), self.cipher.as_ref(), Some(tag), body);
        let plain = Zeroizing::new(plain.map_err(|_| SealError)?);
        let wanted = self.tag(context, &plain).map_err(|_| SealError)?;
        match memcmp::eq(&wanted, tag) {
            true => Ok(plain),
            false => Err(SealError),
        }
    }

    fn tag(&self, context: &[u8], plain: &[u8]) -> Result<[u8; TAG], ErrorStack> {
        let mac = self.mac.mac(&[context, plain])?;
        let mut tag = [0; TAG];
        for (to, from) in tag.iter_mut().zip(mac) {
            *to = from;
        }
        Ok(tag)
    }
}

impl fmt::Debug for SivKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SivKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn master() -> MasterKey {
        MasterKey::load_or_create(tempfile::tempdir().unwrap().path()).unwrap()
    }

    #[test]
    fn a_value_is_sealed_in_one_way_and_opens_in_its_context_only() {
        let master = master();
        let key = master.siv("a").unwrap();
        let sealed = key.seal(b"here", b"value").unwrap();
        assert_eq!(key.seal(b"here", b"value").unwrap(), sealed);
        assert_eq!(key.unseal(b"here", &sealed).unwrap().as_slice(), b"value");
        assert_eq!(key.unseal(b"there", &sealed), Err(SealError));
        assert_eq!(master.siv("b").unwrap().unseal(b"here", &sealed), Err(SealError));
        // Not even one that is empty.
        assert_eq!(key.unseal(b"here", &[0; TAG]), Err(SealError));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.unseal(b"here", &changed), Err(SealError), "octet {at}");
            assert_eq!(key.unseal(b"here", &sealed[..at]), Err(SealError), "cut at {at}");
        }
    }

    #[test]
    fn equal_values_of_two_contexts_have_nothing_in_common() {
        let key = master().siv("a").unwrap();
        let (here, there) = (
            key.seal(b"here", &[7; 64]).unwrap(),
            key.seal(b"there", &[7; 64]).unwrap(),
        );
        let common = here.iter().zip(&there).filter(|(a, b)| a == b).count();
        // 80 octets agree by chance in one of 256 places.
        assert!(common < 8, "{common}");
    }

    proptest! {
        #[test]
        fn every_value_comes_back(context in proptest::collection::vec(any::<u8>(), 0..40), plain in proptest::collection::vec(any::<u8>(), 0..80)) {
            let key = master().siv("a").unwrap();
            let sealed = key.seal(&context, &plain).unwrap();
            prop_assert_eq!(sealed.len(), plain.len() + TAG);
            let opened = key.unseal(&context, &sealed).unwrap();
            prop_assert_eq!(opened.as_slice(), plain.as_slice());
        }
    }
}
