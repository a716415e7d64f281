//! Cryptography ports: passwords and keyed hashes.

use async_trait::async_trait;
use secrecy::SecretString;

use crate::domain::user::PasswordHash;

/// Longest password that is hashed, in bytes: a cap on the work that one request can ask for.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// Why a password could not be hashed or compared.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many log-ins wait already (503).
    #[error("too many log-ins at once")]
    Busy,
    #[error("the password has more than {MAX_PASSWORD_BYTES} bytes")]
    TooLong,
    #[error("the stored password hash cannot be read")]
    CorruptHash,
    #[error("hashing failed")]
    Failed,
}

/// Slow hashing for secrets that people choose.
#[async_trait]
pub trait PasswordHasher: Send + Sync {
    async fn hash(&self, password: SecretString) -> Result<PasswordHash, PasswordError>;
    /// Compares a password with a hash, or, when the account is unknown, does the same work and answers `false`.
    async fn verify(&self, password: SecretString, hash: Option<PasswordHash>) -> Result<bool, PasswordError>;
}
