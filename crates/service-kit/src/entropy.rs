//! Randomness as a port.

use std::fmt;

use rand::Rng as _;

/// Source of unpredictable bytes. Use cases take it as a port so that tests can seed it.
pub trait Entropy: Send + Sync + fmt::Debug {
    fn fill(&self, bytes: &mut [u8]);
}

impl dyn Entropy + '_ {
    /// 256 random bits as 43 characters of base64url: codes, tokens, secrets (RFC 6749 §10.10 asks for 128 at least).
    pub fn secret(&self) -> String {
        self.text::<32>()
    }

    /// 128 random bits as 22 characters of base64url: ids that need to be unique, not secret.
    pub fn id(&self) -> String {
        self.text::<16>()
    }

    fn text<const N: usize>(&self) -> String {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes)
    }
}

/// The operating system's generator, through a per-thread CSPRNG that it seeds.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        #[expect(clippy::disallowed_methods, reason = "this is the adapter behind the Entropy port")]
        rand::rng().fill_bytes(bytes);
    }
}
