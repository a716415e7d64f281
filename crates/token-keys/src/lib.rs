//! josekit and OpenSSL behind our own types: the master key, sealing, signing keys, JWKS, signing, verification.
//!
//! Algorithms come from keys and configuration, never from a token's header.

mod hash;
mod jwks;
mod jwt;
mod master;
mod pair;

pub use hash::left_half_hash;
pub use jwks::{Jwks, JwksError};
pub use jwt::{UnverifiedHeader, VerifiedJwt, VerifyError, peek_header};
pub use master::{MacKey, MasterKey, MasterKeyError, SealError};
pub use pair::{KeyError, SigningKeyPair};
