//! josekit and OpenSSL behind our own types: the master key, sealing, signing keys, JWKS, signing, verification.
//!
//! Algorithms come from keys and configuration, never from a token's header.

mod client_keys;
mod dpop;
mod dpop_nonce;
mod hash;
mod hmac;
mod jwe;
mod jwks;
mod jwt;
mod master;
mod pair;
mod public_key;
mod sealing;
mod siv;
pub mod strict_json;

pub use client_keys::ClientKeys;
pub use dpop::{DpopProof, ExpectedProof, ProofError, verify_dpop_proof};
pub use dpop_nonce::{DpopNonces, NonceVerdict};
pub use hash::left_half_hash;
pub use hmac::verify_hmac;
pub use jwe::EncryptError;
pub use jwks::{Jwks, JwksError};
pub use jwt::{ForeignJwt, UnverifiedHeader, VerifiedJwt, VerifyError, peek_claims, peek_header};
pub use master::{MacKey, MasterKey, MasterKeyError, SealError};
pub use pair::{KeyError, SigningKeyPair};
pub use public_key::KeyFault;
pub use sealing::SealingKey;
pub use siv::SivKey;
