//! The authorization endpoint: from a request to a code (RFC 6749 §4.1, OpenID Connect Core §3.1.2).

mod claims;
mod code;
mod decide;
mod parameters;
mod push;
mod request_object;
mod respond;
mod validate;

use std::sync::Arc;

use oauth_wire::{OAuthErrorCode, ResponseMode};
use service_kit::{Clock, Entropy};

use crate::{
    application::{
        authenticate_client::ClientDirectory, client_documents::ClientDocuments, client_keyring::ClientKeyring,
        client_sealer::ClientSealer, keyring::Keyring, policy::Policy, subjects::Subjects, token_error::TokenError,
    },
    domain::{client::Client, ids::ClientId, session::Consent},
    ports::store::{Codes, Consents, PushedRequests, StoreError, Transactions},
};

pub(crate) use claims::{AskedClaims, asked_claims};
pub use code::digest;
pub use push::{PushError, Pushed};
pub use respond::{Delivery, Outgoing};

/// Longest value that is kept with a request (`nonce`, `state`, `login_hint`), in bytes. More is refused, never cut.
pub const MAX_VALUE_BYTES: usize = 4096;

/// The use cases around the authorization endpoint.
#[derive(Clone)]
pub struct Authorize {
    pub policy: Arc<Policy>,
    pub clients: ClientDirectory,
    pub codes: Arc<dyn Codes>,
    pub pushed: Arc<dyn PushedRequests>,
    pub transactions: Arc<dyn Transactions>,
    pub consents: Arc<dyn Consents>,
    pub keyring: Arc<Keyring>,
    pub sealer: ClientSealer,
    pub documents: Arc<ClientDocuments>,
    pub client_keys: ClientKeyring,
    pub subjects: Subjects,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for Authorize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorize").finish_non_exhaustive()
    }
}

/// A request that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizeError {
    /// Client or redirect URI cannot be trusted: the person sees a page, nobody is redirected (RFC 6749 §4.1.2.1).
    #[error("{sentence}")]
    Page { code: OAuthErrorCode, sentence: String },
    /// The client is told by redirect.
    #[error("redirect with {}", .0.error.as_str())]
    Redirect(Box<ErrorResponse>),
    #[error("storage failed")]
    Store(#[from] StoreError),
}

/// An error for the client (RFC 6749 §4.1.2.1, RFC 9207 §2).
#[derive(Debug, Clone)]
pub struct ErrorResponse {
    pub client: ClientId,
    pub redirect_uri: String,
    pub response_mode: ResponseMode,
    pub error: OAuthErrorCode,
    pub description: &'static str,
    pub state: Option<String>,
}

/// A code for the client.
#[derive(Debug, Clone)]
pub struct CodeResponse {
    pub client: ClientId,
    pub redirect_uri: String,
    pub response_mode: ResponseMode,
    pub code: String,
    pub state: Option<String>,
}

/// Why a response cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum RespondError {
    /// The client was removed meanwhile.
    #[error("the client is gone")]
    Gone,
    #[error("the response could not be signed or encrypted: {0}")]
    Sealing(#[from] TokenError),
    #[error("storage failed")]
    Store(#[from] StoreError),
}

/// What a valid request needs next, given who is signed in. Nothing has been issued.
#[derive(Debug)]
pub enum Decision {
    /// The person has to sign in (again).
    SignIn,
    /// The person has to agree to something; `known` is what they agreed to before.
    Consent {
        client: Arc<Client>,
        known: Option<Consent>,
    },
    /// Nothing is missing.
    Ready(Arc<Client>),
    /// prompt=none cannot be met.
    Refuse(ErrorResponse),
    /// The client was disabled or removed meanwhile: nothing is sent to its URI any more.
    Gone,
}

/// Where a valid request goes.
#[derive(Debug)]
pub enum Step {
    SignIn,
    Consent,
    Respond(CodeResponse),
    Refuse(ErrorResponse),
    Gone,
    /// The request was a pushed one, and has been answered in another tab or browser: nothing is sent a second time.
    Answered,
}

fn page(code: OAuthErrorCode, sentence: impl Into<String>) -> AuthorizeError {
    AuthorizeError::Page {
        code,
        sentence: sentence.into(),
    }
}
