//! Claims about a person for the bearer of an access token (OpenID Connect Core §5.3).

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{
    application::{live_tokens::LiveTokens, policy::OPENID},
    domain::{ids::UserId, user::User},
    ports::store::{StoreError, Users},
};

/// Answers claims.
#[derive(Clone)]
pub struct Userinfo {
    pub tokens: LiveTokens,
    pub users: Arc<dyn Users>,
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
    #[error("storage failed")]
    Store(#[from] StoreError),
}

impl Userinfo {
    /// The claims that the token's scope opens.
    ///
    /// # Errors
    /// [`UserinfoError`].
    pub async fn claims(&self, token: &str) -> Result<Map<String, Value>, UserinfoError> {
        let (token, _) = self.tokens.find(token).await?.ok_or(UserinfoError::InvalidToken)?;
        if !token.has_scope(OPENID) {
            return Err(UserinfoError::InsufficientScope);
        }
        let user = self
            .users
            .find_user(&UserId::new(token.sub()))
            .await?
            .filter(User::is_active);
        let user = user.ok_or(UserinfoError::InvalidToken)?;
        let scope = token.claims.get("scope").and_then(Value::as_str).unwrap_or_default();
        // The scope was ours when the token was signed.
        Ok(user.claims_for(&scope.parse().unwrap_or_default()))
    }
}
