//! What can go wrong at the token endpoint and its neighbours, in domain words.

use oauth_wire::DetailsFault;
use service_kit::Timestamp;

use crate::ports::{crypto::PasswordError, rules::CodeRefusal, store::StoreError};

/// A request for tokens (or about tokens) that is not answered with success.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("{0}")]
    InvalidRequest(String),
    #[error("client authentication failed")]
    InvalidClient,
    /// The client did sign the assertion by which it authenticates, but it is not worth anything now.
    #[error("{0}")]
    InvalidAssertion(&'static str),
    #[error("{0}")]
    InvalidGrant(&'static str),
    #[error("{0}")]
    UnauthorizedClient(&'static str),
    #[error("grant_type is not supported")]
    UnsupportedGrantType,
    #[error("{0}")]
    InvalidScope(&'static str),
    /// RFC 8707 §2.
    #[error("{0}")]
    InvalidTarget(&'static str),
    /// RFC 9396 §5.
    #[error("{0}")]
    InvalidAuthorizationDetails(&'static str),
    /// RFC 9449 §5.
    #[error("{0}")]
    InvalidDpopProof(String),
    /// RFC 9449 §8.
    #[error("the DPoP proof must hold the nonce of the DPoP-Nonce header")]
    UseDpopNonce { fresh: String },
    /// The person has not decided yet (RFC 8628 §3.5).
    #[error("the person has not decided yet")]
    AuthorizationPending,
    /// As before, and the client asks too often (RFC 8628 §3.5).
    #[error("the person has not decided yet; wait 5 seconds longer between requests")]
    SlowDown,
    /// The person has said no.
    #[error("the person did not agree")]
    AccessDenied,
    /// Nobody has decided in time, or the client has not asked in time (RFC 8628 §3.5).
    #[error("the request has expired")]
    ExpiredToken,
    /// Nobody of whom the client may ask goes by the hint (CIBA §13).
    #[error("the hint leads to nobody who could be asked")]
    UnknownUser,
    /// CIBA §13.
    #[error("{0}")]
    InvalidBindingMessage(&'static str),
    /// Guessed too often; may be tried again then.
    #[error("too many attempts")]
    Throttled { until: Timestamp },
    /// Where the client describes itself, or publishes its keys, nobody answers just now.
    #[error("the description or the keys of the client cannot be had")]
    ClientOutOfReach,
    /// Where an issuer of assertions publishes its keys nobody answers just now.
    #[error("the keys of the assertion's issuer cannot be had")]
    KeysOutOfReach,
    /// Too much work waits already.
    #[error("the service is busy")]
    Busy,
    #[error("storage failed")]
    Store(#[from] StoreError),
    #[error("signing failed")]
    Signing(#[from] token_keys::KeyError),
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl TokenError {
    pub(crate) fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal(Box::new(error))
    }
}

impl From<DetailsFault> for TokenError {
    fn from(DetailsFault(reason): DetailsFault) -> Self {
        Self::InvalidAuthorizationDetails(reason)
    }
}

impl From<CodeRefusal> for TokenError {
    fn from(refusal: CodeRefusal) -> Self {
        // RFC 6749 §5.2, RFC 7636 §4.6: all of them are invalid_grant.
        Self::InvalidGrant(match refusal {
            CodeRefusal::OtherClient => "the code was issued to another client",
            CodeRefusal::OtherRedirectUri => "redirect_uri is not the one of the authorization request",
            CodeRefusal::VerifierMissing => "code_verifier is missing",
            CodeRefusal::VerifierMismatch => "code_verifier does not match the code_challenge",
            CodeRefusal::VerifierUnexpected => {
                "code_verifier was sent, but the authorization request had no code_challenge"
            }
            CodeRefusal::Refused => "the code cannot be exchanged",
        })
    }
}

impl From<PasswordError> for TokenError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::Busy,
            // Nobody has a password that long, so it is as wrong as any other.
            PasswordError::TooLong => Self::InvalidGrant(WRONG_CREDENTIALS),
            PasswordError::CorruptHash | PasswordError::Failed => Self::internal(error),
        }
    }
}

/// One sentence for an unknown user, a wrong password and a locked account: it must not tell which.
pub const WRONG_CREDENTIALS: &str = "username or password is wrong";

/// Of an assertion that works no more.
pub const ASSERTION_REPLAYED: &str = "its jti was used before";
