//! Token introspection (RFC 7662). No write happens on this path.

use std::{collections::BTreeMap, sync::Arc};

use oauth_wire::{Confirmation, IntrospectionReply, token::TokenType};
use serde_json::{Map, Value, json};
use service_kit::{Clock, Timestamp};

use crate::{
    application::{
        authenticate_client::ClientDirectory,
        client_sealer::{ClientSealer, Sealing},
        live_tokens::LiveTokens,
        policy::{OFFLINE_ACCESS, Policy},
        refresh_secret::RefreshSecrets,
        subjects::Subjects,
        token_error::TokenError,
    },
    domain::{
        client::{Client, PERMISSION_INTROSPECT},
        grant::{RefreshFamily, RefreshUse},
        user::User,
    },
    ports::store::{RefreshFamilies, Sessions, Users},
};

/// `typ` of an answer as a token (RFC 9701 §5).
const INTROSPECTION_TYP: &str = "token-introspection+jwt";

/// Answers what a token is.
#[derive(Clone)]
pub struct Introspect {
    pub policy: Arc<Policy>,
    pub tokens: LiveTokens,
    pub clients: ClientDirectory,
    pub subjects: Subjects,
    pub families: Arc<dyn RefreshFamilies>,
    pub users: Arc<dyn Users>,
    pub sessions: Arc<dyn Sessions>,
    pub refresh: RefreshSecrets,
    pub sealer: ClientSealer,
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Introspect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Introspect").finish_non_exhaustive()
    }
}

impl Introspect {
    /// What the token says, or `None` when it is not active or not the caller's business; the two look alike (§2.2, §4).
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn introspect(&self, caller: &Client, token: &str) -> Result<Option<Map<String, Value>>, TokenError> {
        if let Some((token, _)) = self.tokens.find(token).await? {
            let theirs = caller.holds(PERMISSION_INTROSPECT)
                || token.client_id == caller.client_id
                || token.is_for(caller.client_id.as_str());
            return Ok(theirs.then(|| {
                let mut claims = token.claims.clone();
                let token_type = match token.confirmation() {
                    Some(Confirmation::Jkt(_)) => TokenType::Dpop,
                    Some(Confirmation::X5tS256(_)) | None => TokenType::Bearer,
                };
                claims.insert("token_type".into(), token_type.as_str().into());
                claims
            }));
        }
        self.refresh_token(caller, token).await
    }

    /// The answer as a token for the caller (RFC 9701 §5): what was said when and to whom can be shown to others later.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn seal(&self, caller: &Client, reply: &IntrospectionReply) -> Result<String, TokenError> {
        // Neither `sub` nor `exp`, so that it cannot be used as an access token (§8.1).
        let claims = json!({
            "iss": self.policy.issuer,
            "aud": caller.client_id,
            "iat": self.clock.now().as_seconds(),
            "token_introspection": reply,
        });
        let sealing = Sealing::of_introspection(caller);
        let typ = Some(INTROSPECTION_TYP);
        self.sealer
            .seal(caller, sealing, typ, claims.to_string().as_bytes())
            .await
    }

    async fn refresh_token(&self, caller: &Client, token: &str) -> Result<Option<Map<String, Value>>, TokenError> {
        let Some((grant, generation)) = self.refresh.read(token)? else {
            return Ok(None);
        };
        let Some(family) = self.families.find_family(&grant).await? else {
            return Ok(None);
        };
        let theirs = caller.holds(PERMISSION_INTROSPECT) || family.grant.client == caller.client_id;
        let window = self.policy.lifetimes.lost_reply_window;
        if !theirs || family.judge(generation, self.clock.now(), window) != RefreshUse::Current {
            return Ok(None);
        }
        if !self
            .users
            .find_user(&family.grant.user)
            .await?
            .is_some_and(|user| User::is_active(&user))
        {
            return Ok(None);
        }
        let Some(ends_at) = self.end(&family).await? else {
            return Ok(None);
        };
        let Some(client) = self.clients.find(&family.grant.client).await? else {
            return Ok(None);
        };
        // RFC 6749 §6: never more than what the client may have by now, which is what a refresh would bring.
        let scope = family.grant.scope.intersection(&client.scope);
        if scope.is_empty() {
            return Ok(None);
        }
        let shown = self.subjects.shown_to(&client, &family.grant.user)?;
        let claims = BTreeMap::from([
            ("iss", json!(self.policy.issuer)),
            ("client_id", json!(family.grant.client)),
            ("sub", json!(shown.sub)),
            ("scope", json!(scope)),
            ("iat", json!(family.rotated_at.as_seconds())),
            ("exp", json!(ends_at.as_seconds())),
        ]);
        Ok(Some(
            claims
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        ))
    }

    /// When the family ends by itself, unless it has: one without `offline_access` lives no longer than its session.
    async fn end(&self, family: &RefreshFamily) -> Result<Option<Timestamp>, TokenError> {
        let own = family.idle_expires_at.min(family.absolute_expires_at);
        match &family.grant.sid {
            Some(sid) if !family.grant.scope.contains(OFFLINE_ACCESS) => {
                let session = self.sessions.find_live_session(sid, self.clock.now()).await?;
                Ok(session.map(|session| session.expires_at.min(own)))
            }
            Some(_) | None => Ok(Some(own)),
        }
    }
}
