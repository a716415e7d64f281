//! RFC vocabulary of OAuth 2.1 and OpenID Connect, shared by both services.
//!
//! Words, shapes and syntax rules only: serde types, parsers and formatters. No I/O, no clock, no business rule.

pub mod ai_scope;
pub mod authorization_details;
pub mod challenge;
pub mod client_auth;
pub mod confirmation;
pub mod error;
pub mod form;
pub mod grant;
pub mod htu;
pub mod jose;
pub mod metadata;
pub mod pkce;
pub mod redirect;
pub mod revocation;
pub mod scope;
pub mod token;

pub use ai_scope::{AI_CAPABILITIES, AI_SCOPE, ai_scope, ai_scopes};
pub use authorization_details::{AiCall, AuthorizationDetail, AuthorizationDetails, Cost, DetailsFault};
pub use challenge::{BearerChallenge, BearerErrorCode, DpopChallenge, StepUp, TokenChallenges, TokenScheme};
pub use client_auth::{BasicCredentials, ClientAuthMethod, JWT_BEARER_ASSERTION, MalformedBasic};
pub use confirmation::Confirmation;
pub use error::OAuthErrorCode;
pub use form::{Form, FormError};
pub use grant::{Display, GrantType, Prompt, ResponseMode, ResponseType};
pub use htu::{Htu, HtuError};
pub use jose::{HmacAlg, JweAlg, JweEnc, SigningAlg};
pub use metadata::{MtlsEndpointAliases, ProtectedResourceMetadata, ProviderMetadata};
pub use pkce::{CodeChallenge, CodeVerifier, PkceError};
pub use redirect::{RedirectUri, RedirectUriError};
pub use revocation::{RevocationEvent, RevocationIndex, Revoked, TokenFacts, actors, grant_of};
pub use scope::{Scope, ScopeError, ScopeToken};
pub use token::{IntrospectionReply, TokenReply, TokenTypeHint};
