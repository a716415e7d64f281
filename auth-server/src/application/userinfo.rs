//! Claims about a person for the bearer of an access token (OpenID Connect Core §5.3).

use std::sync::Arc;

use oauth_wire::TokenScheme;
use serde_json::{Map, Value};

use crate::{
    application::{
        client_sealer::{ClientSealer, Sealing},
        live_tokens::LiveTokens,
        policy::{OPENID, Policy},
        requested_claims,
        sender_constraint::{Place, SenderConstraint, SenderError, Shown},
        token_error::TokenError,
    },
    domain::{ids::UserId, user::User},
    ports::store::{StoreError, Users},
};

/// Answers claims.
#[derive(Clone)]
pub struct Userinfo {
    pub policy: Arc<Policy>,
    pub tokens: LiveTokens,
    pub users: Arc<dyn Users>,
    pub sealer: ClientSealer,
    pub sender_constraint: SenderConstraint,
}

/// A token as it was presented.
#[derive(Debug, Clone, Copy)]
pub struct PresentedToken<'a> {
    pub token: &'a str,
    pub scheme: TokenScheme,
    pub shown: Shown<'a>,
    pub place: Place<'a>,
}

impl std::fmt::Debug for Userinfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Userinfo").finish_non_exhaustive()
    }
}

/// Why no claims are answered.
#[derive(Debug, thiserror::Error)]
pub enum UserinfoError {
    #[error("the access token is invalid, expired or revoked")]
    InvalidToken,
    #[error("the access token was not issued for openid")]
    InsufficientScope,
    /// The token is good, but not in these hands.
    #[error(transparent)]
    Sender(SenderError),
    #[error(transparent)]
    Sealing(TokenError),
    #[error("storage failed")]
    Store(#[from] StoreError),
}

/// Claims as the client wants to have them.
#[derive(Debug)]
pub enum UserinfoReply {
    Plain(Map<String, Value>),
    /// Signed, encrypted, or both (OpenID Connect Core §5.3.2).
    Jwt(String),
}

impl Userinfo {
    /// The claims that the token's scope opens, and those that the `claims` parameter asked for by name.
    ///
    /// # Errors
    /// [`UserinfoError`].
    pub async fn claims(&self, presented: PresentedToken<'_>) -> Result<UserinfoReply, UserinfoError> {
        let (token, client) = self
            .tokens
            .find(presented.token)
            .await?
            .ok_or(UserinfoError::InvalidToken)?;
        self.sender_constraint
            .of_token(
                presented.token,
                token.confirmation(),
                presented.scheme,
                presented.shown,
                presented.place,
            )
            .await
            .map_err(|error| match error {
                SenderError::Store(error) => UserinfoError::Store(error),
                other => UserinfoError::Sender(other),
            })?;
        if !token.has_scope(OPENID) {
            return Err(UserinfoError::InsufficientScope);
        }
        // RFC 9068 §4: a token that was narrowed to another resource is not for this one.
        if !token.is_for(&self.policy.issuer) {
            return Err(UserinfoError::InvalidToken);
        }
        let user = self
            .users
            .find_user(&UserId::new(token.sub()))
            .await?
            .filter(User::is_active);
        let user = user.ok_or(UserinfoError::InvalidToken)?;
        let text = |name: &str| token.claims.get(name).and_then(Value::as_str);
        // The scope was ours when the token was signed.
        let mut claims = user.claims_for(&text("scope").unwrap_or_default().parse().unwrap_or_default());
        let named = requested_claims::carried(text("userinfo_claims"));
        claims.extend(user.claims_named(&requested_claims::within(named, &client.scope)));
        // The very `sub` of the ID token (OpenID Connect Core §5.3.2).
        claims.insert("sub".into(), text("sub").unwrap_or_default().into());
        let Some(sealing) = Sealing::of_userinfo(&client) else {
            return Ok(UserinfoReply::Plain(claims));
        };
        claims.insert("iss".into(), self.policy.issuer.as_str().into());
        claims.insert("aud".into(), client.client_id.as_str().into());
        let bytes = Value::Object(claims).to_string();
        // Without a `typ`, so that nobody takes it for an ID token: not we for a hint either, which has one.
        let sealed = self.sealer.seal(&client, sealing, None, bytes.as_bytes()).await;
        sealed.map(UserinfoReply::Jwt).map_err(UserinfoError::Sealing)
    }
}
