//! `grant_type=urn:ietf:params:oauth:grant-type:token-exchange` (RFC 8693): a service on the way of a request gets a token of its own
//! for the person whose token it was given.
//!
//! What comes out is never more than what went in: scope, audience, interfaces, details and lifetime only shrink, a binding stays, and
//! the token belongs to the same grant, so that whatever ends that ends it too. docs/adr/0015-token-exchange.md says what follows from it.

use std::{collections::BTreeSet, sync::Arc};

use oauth_wire::{AuthorizationDetails, GrantType, Scope};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use service_kit::{Clock, Timestamp};

use crate::{
    application::{
        issue::{AccessTokenOrder, Issued, Subject, TokenIssuer, Within},
        live_tokens::{AccessToken, LiveTokens},
        opaque_tokens::OpaqueTokens,
        policy::{OFFLINE_ACCESS, Policy, UNKNOWN_RESOURCE},
        subjects::Subjects,
        token_call::TokenCall,
        token_error::TokenError,
    },
    domain::{
        client::Client,
        client_protocol::AccessTokenFormat,
        grant::{Grant, GrantDetails},
        ids::{GrantId, SessionId, UserId},
        user::User,
    },
    ports::store::Users,
};

/// RFC 8693 §3.
const TYPE_ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const TYPE_JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const TYPE_ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const TYPE_REFRESH_TOKEN: &str = "urn:ietf:params:oauth:token-type:refresh_token";
/// How often a token is made of another one in a row. A request passes through no more services than that, and a token has to fit into a
/// header.
const MAX_HOPS: usize = 5;
/// One sentence for whatever keeps a token from being good: it tells nobody which.
const DEAD: &str = "is unknown, expired or revoked";

/// Exchanges tokens for tokens.
#[derive(Clone)]
pub struct ExchangeToken {
    pub policy: Arc<Policy>,
    pub tokens: LiveTokens,
    pub users: Arc<dyn Users>,
    pub subjects: Subjects,
    pub issuer: TokenIssuer,
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ExchangeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExchangeToken").finish_non_exhaustive()
    }
}

/// What the client sends (RFC 8693 §2.1).
#[derive(Debug)]
pub struct TokenExchange {
    pub subject_token: String,
    pub subject_token_type: String,
    pub actor_token: Option<String>,
    pub actor_token_type: Option<String>,
    pub requested_token_type: Option<String>,
    pub audience: Vec<String>,
    pub scope: Option<Scope>,
}

/// RFC 8693 §2.2.2: whatever is wrong with either token is `invalid_request`.
fn refused(reason: &str) -> TokenError {
    TokenError::InvalidRequest(reason.to_owned())
}

impl ExchangeToken {
    /// A token for the person of the subject token. With an actor token it says who acts for them (delegation), without one it does not
    /// (impersonation). There is no refresh token.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn exchange(&self, call: &TokenCall, request: TokenExchange) -> Result<Issued, TokenError> {
        let client = call.client.as_ref();
        if !client.may_use(GrantType::TokenExchange) || client.is_public() {
            return Err(TokenError::UnauthorizedClient("the client may not use token exchange"));
        }
        let issued_token_type = types(client, &request)?;
        let subject = self.token(call, "subject_token", &request.subject_token).await?;
        let user = self.person(client, &subject).await?;
        let actor = match &request.actor_token {
            Some(token) => Some(self.actor(call, token).await?),
            None => None,
        };
        let acting = actor.as_deref().map_or(client.client_id.as_str(), AccessToken::sub);
        may_act(&subject.claims, &self.policy.issuer, client, acting)?;
        let (scope, told) = scope(&subject, client, request.scope)?;
        let now = self.clock.now();
        let granted: AuthorizationDetails = claim(&subject.claims, "authorization_details")?.unwrap_or_default();
        let authorization_details = match granted.is_empty() {
            // Details narrow what scopes open: to add some to a token without any takes away.
            true => call.own_details(&scope, now)?,
            false => call.narrow_details(&granted, now)?,
        };
        let resources = self.targets(&subject, &scope, call, request.audience)?;
        let via = via(&subject)?;
        let actor_chain = self.actors(client, &subject.claims, actor.as_deref()).await?;
        let grant = grant(&subject, &user, client, scope, actor_chain)?;
        let interfaces: Option<BTreeSet<String>> = claim(&subject.claims, "ai_interfaces")?;
        let order = AccessTokenOrder {
            client,
            subject: Subject::Person {
                user: &user,
                grant: &grant,
                sid: grant.sid.as_ref(),
            },
            scope: &grant.scope,
            resources: &resources,
            authorization_details: &authorization_details,
            confirmation: call.confirmation.as_ref(),
            within: Some(Within {
                exp: actor.as_ref().map_or(subject.exp, |actor| actor.exp.min(subject.exp)),
                ai_interfaces: interfaces.as_ref(),
                via: &via,
            }),
        };
        let (access_token, expires_in) = self.issuer.access_token(order).await?;
        tracing::info!(
            client.id = %client.client_id, subject.client_id = %subject.client_id, actor = actor.as_deref().map(AccessToken::sub),
            grant.id = %grant.grant_id, "a token was exchanged"
        );
        Ok(Issued {
            access_token,
            issued_token_type: Some(issued_token_type),
            expires_in,
            refresh_token: None,
            id_token: None,
            scope: told,
            authorization_details,
        })
    }

    /// A live access token of ours, of the client's tenant, which the caller may hold: one that is bound to a key is exchanged by nobody but
    /// who proves that key in this very request, and what comes out is bound to it again.
    async fn token(&self, call: &TokenCall, name: &str, token: &str) -> Result<Arc<AccessToken>, TokenError> {
        let found = self.tokens.find(token).await?;
        let same_tenant = found.filter(|(_, owner)| owner.tenant == call.client.tenant);
        let (token, _) = same_tenant.ok_or_else(|| refused(&format!("{name} {DEAD}")))?;
        match token
            .confirmation()
            .is_none_or(|bound| call.confirmation.as_ref() == Some(bound))
        {
            true => Ok(token),
            false => Err(refused(&format!(
                "{name} is bound to a key or certificate that this request does not prove"
            ))),
        }
    }

    /// Whoever acts is the caller, or somebody who has given it a token: nobody acts in the name of a token that was only seen.
    async fn actor(&self, call: &TokenCall, token: &str) -> Result<Arc<AccessToken>, TokenError> {
        let actor = self.token(call, "actor_token", token).await?;
        if actor.client_id != call.client.client_id {
            return Err(refused("actor_token was issued to another client"));
        }
        if actor.claims.contains_key("act") {
            return Err(refused("actor_token speaks for somebody who does not act"));
        }
        // A machine, or a person who may still act.
        if actor.sub() != actor.client_id.as_str() {
            self.may_still_act("actor_token", actor.sub()).await?;
        }
        Ok(actor)
    }

    /// The account itself is asked: what another node has revoked a moment ago this one may not have read, and the new token would be too
    /// young for that revocation to end it.
    async fn may_still_act(&self, name: &str, sub: &str) -> Result<(), TokenError> {
        let user = self.users.find_user(&UserId::new(sub)).await?;
        let active = user.filter(User::is_active);
        active.map(drop).ok_or_else(|| refused(&format!("{name} {DEAD}")))
    }

    async fn person(&self, client: &Client, subject: &AccessToken) -> Result<User, TokenError> {
        // A machine that wants less gets a token of its own by client_credentials.
        if subject.sub() == subject.client_id.as_str() {
            return Err(refused("subject_token is a machine's; only people are acted for"));
        }
        let user = self.users.find_user(&UserId::new(subject.sub())).await?;
        user.filter(|user| user.is_active() && user.tenant == client.tenant)
            .ok_or_else(|| refused(&format!("subject_token {DEAD}")))
    }

    /// `act`: who acts now, and within that who acted before (RFC 8693 §4.1). Each by the name that the client knows: a pairwise `sub` that
    /// was made for an earlier one would tell the two that they know the same person.
    async fn actors(
        &self,
        client: &Client,
        subject: &Map<String, Value>,
        actor: Option<&AccessToken>,
    ) -> Result<Option<Value>, TokenError> {
        let mut named = None;
        let chain: Vec<&Value> = oauth_wire::actors(subject).collect();
        for earlier in chain.into_iter().rev() {
            let earlier = Actor::read(&self.subjects, earlier)?;
            if !earlier.is_machine() {
                self.may_still_act("subject_token", &earlier.sub).await?;
            }
            named = Some(self.named(client, &earlier, named).await?);
        }
        let Some(actor) = actor else {
            return Ok(named);
        };
        let now = Actor {
            sub: actor.sub().to_owned(),
            client_id: actor.client_id.as_str().to_owned(),
        };
        Ok(Some(self.named(client, &now, named).await?))
    }

    async fn named(&self, client: &Client, actor: &Actor, before: Option<Value>) -> Result<Value, TokenError> {
        let mut act = Map::from_iter([("client_id".to_owned(), Value::from(actor.client_id.as_str()))]);
        if actor.is_machine() {
            act.insert("sub".into(), actor.sub.as_str().into());
        } else {
            let shown = self.subjects.disclose(client, &UserId::new(&actor.sub)).await?;
            act.insert("sub".into(), shown.sub.into());
            act.extend(shown.sector.map(|sector| ("sector".to_owned(), sector.into())));
        }
        act.extend(before.map(|before| ("act".to_owned(), before)));
        Ok(act.into())
    }

    /// Whom the new token is for: those that are asked for, else those of the subject token that its scope opens anything of, and never
    /// anybody else (RFC 8693 §2.2.2, RFC 8707 §2).
    fn targets(
        &self,
        subject: &AccessToken,
        scope: &Scope,
        call: &TokenCall,
        audience: Vec<String>,
    ) -> Result<Vec<String>, TokenError> {
        let all: Vec<String> = match text(&subject.claims, "aud") {
            Some(one) => vec![one.to_owned()],
            None => claim(&subject.claims, "aud")?.unwrap_or_default(),
        };
        // One that is for nobody must not become one for whoever follows from the scope.
        if all.is_empty() || all.iter().any(String::is_empty) {
            return Err(refused("subject_token does not say whom it is for"));
        }
        let named = self.policy.known_resources(audience);
        let named = named.ok_or(TokenError::InvalidTarget(UNKNOWN_RESOURCE))?;
        let asked: BTreeSet<String> = named.into_iter().chain(call.resources.iter().cloned()).collect();
        if !asked.is_empty() {
            return match asked.iter().all(|target| subject.is_for(target)) {
                true => Ok(asked.into_iter().collect()),
                false => Err(TokenError::InvalidTarget("the subject token is not for this target")),
            };
        }
        let opened = self.policy.audience(scope, &[]);
        let is_ours = |name: &str| name == self.policy.issuer || name == self.policy.gateway_audience;
        let needed = |name: &&String| opened.contains(&name.as_str()) || !is_ours(name);
        let less: Vec<String> = all.iter().filter(needed).cloned().collect();
        Ok(if less.is_empty() { all } else { less })
    }
}

/// Somebody who acts, by the name that we know.
struct Actor {
    sub: String,
    client_id: String,
}

impl Actor {
    /// Reads what [`ExchangeToken::named`] wrote.
    fn read(subjects: &Subjects, act: &Value) -> Result<Self, TokenError> {
        let read = |act: &Map<String, Value>| {
            Some(Self {
                sub: subjects.named_by(act)?,
                client_id: text(act, "client_id")?.to_owned(),
            })
        };
        let actor = act.as_object().and_then(read);
        actor.ok_or_else(|| refused("subject_token names an actor that cannot be read"))
    }

    fn is_machine(&self) -> bool {
        self.sub == self.client_id
    }
}

/// RFC 8693 §2.1, §3: access tokens of ours for an access token of ours. Answers what the new one is called (§2.2.1).
fn types(client: &Client, request: &TokenExchange) -> Result<&'static str, TokenError> {
    input("subject_token", &request.subject_token, &request.subject_token_type)?;
    match (&request.actor_token, &request.actor_token_type) {
        (Some(token), Some(kind)) => input("actor_token", token, kind)?,
        (Some(_), None) => return Err(refused("actor_token_type is missing")),
        // §2.1: it must not be there without the token.
        (None, Some(_)) => return Err(refused("actor_token_type was sent without an actor_token")),
        (None, None) => {}
    }
    match request.requested_token_type.as_deref() {
        None | Some(TYPE_ACCESS_TOKEN) => Ok(TYPE_ACCESS_TOKEN),
        Some(TYPE_JWT) if client.protocol.access_token_format == AccessTokenFormat::Jwt => Ok(TYPE_JWT),
        Some(TYPE_JWT) => Err(refused("requested_token_type: the client's access tokens are no JWTs")),
        Some(TYPE_REFRESH_TOKEN) => Err(refused(
            "requested_token_type: what outlives the token that it was made of is not issued",
        )),
        Some(_) => Err(refused("requested_token_type is not supported")),
    }
}

/// What goes in is an access token, and a JWT where it is called one.
fn input(name: &str, token: &str, kind: &str) -> Result<(), TokenError> {
    let reason = match kind {
        TYPE_ACCESS_TOKEN => return Ok(()),
        TYPE_JWT if !OpaqueTokens::is_opaque(token) => return Ok(()),
        TYPE_JWT => "the token is no JWT",
        TYPE_ID_TOKEN => "an ID token allows nothing that could be passed on; send an access token",
        TYPE_REFRESH_TOKEN => "a refresh token is for its own client alone; send an access token",
        _ => "is not supported",
    };
    Err(refused(&format!("{name}_type: {reason}")))
}

/// Who may act for the person, if the subject token says so (RFC 8693 §4.4).
fn may_act(subject: &Map<String, Value>, issuer: &str, client: &Client, actor: &str) -> Result<(), TokenError> {
    let Some(may_act) = subject.get("may_act") else {
        return Ok(());
    };
    let said = |name: &str| may_act.get(name);
    let fits = |name: &str, value: &str| said(name).is_none_or(|said| said == value);
    let names_somebody = said("sub").is_some() || said("client_id").is_some();
    match names_somebody && fits("iss", issuer) && fits("sub", actor) && fits("client_id", client.client_id.as_str()) {
        true => Ok(()),
        false => Err(refused("subject_token lets somebody else act")),
    }
}

/// The clients whose tokens the new one is made of, the first in front: if one of them is disabled, what came of its tokens ends as well.
fn via(subject: &AccessToken) -> Result<Vec<String>, TokenError> {
    if subject.via().len() >= MAX_HOPS {
        return Err(refused("subject_token has been exchanged too often in a row"));
    }
    let own = subject.client_id.as_str().to_owned();
    Ok(subject.via().iter().cloned().chain([own]).collect())
}

/// The grant that the subject token came from, as far as the new token takes part in it.
fn grant(
    subject: &AccessToken,
    user: &User,
    client: &Client,
    scope: Scope,
    actor: Option<Value>,
) -> Result<Grant, TokenError> {
    // Its id stands in front of the token's; see [`TokenIssuer::access_token`].
    let of_grant = |()| refused("subject_token did not come from a person's grant");
    let grant_id = oauth_wire::grant_of(subject.jti()).ok_or(()).map_err(of_grant)?;
    let auth_time: i64 = claim(&subject.claims, "auth_time")?.ok_or(()).map_err(of_grant)?;
    Ok(Grant {
        grant_id: GrantId::new(grant_id),
        client: client.client_id.clone(),
        tenant: client.tenant.clone(),
        user: user.sub.clone(),
        sid: text(&subject.claims, "sid").map(SessionId::new),
        scope,
        auth_time: Timestamp::from_seconds(auth_time),
        amr: claim(&subject.claims, "amr")?.unwrap_or_default(),
        details: GrantDetails {
            acr: text(&subject.claims, "acr").map(str::to_owned),
            actor,
            ..GrantDetails::default()
        },
    })
}

/// What is asked for, else all that the subject token and the client have in common; and what the client has to be told.
fn scope(subject: &AccessToken, client: &Client, asked: Option<Scope>) -> Result<(Scope, Option<Scope>), TokenError> {
    let held = text(&subject.claims, "scope").unwrap_or_default().parse();
    let held: Scope = held.unwrap_or_default();
    // Nothing comes out that could be refreshed.
    let common = held.intersection(&client.scope).without(OFFLINE_ACCESS);
    match asked.filter(|asked| !asked.is_empty()) {
        Some(asked) if asked.is_subset(&common) => Ok((asked, None)),
        Some(_) => Err(TokenError::InvalidScope(
            "scope exceeds what the subject token has or the client may have",
        )),
        None if common.is_empty() => Err(TokenError::InvalidScope(
            "nothing of the subject token's scope is one of the client's",
        )),
        None => Ok((common.clone(), Some(common))),
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// A claim of a token of ours. One that does not read back as it was written may be a limit that a newer node knows: to pass over it would
/// be to lift it.
fn claim<T: DeserializeOwned>(claims: &Map<String, Value>, name: &str) -> Result<Option<T>, TokenError> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let read = serde_json::from_value(value.clone());
    read.map(Some)
        .map_err(|_| refused(&format!("{name} of the subject token cannot be read")))
}

#[cfg(test)]
mod tests {
    use oauth_wire::ClientAuthMethod;
    use serde_json::json;

    use super::*;
    use crate::domain::client_auth::tests::client;

    #[test]
    fn whom_a_token_lets_act_is_told_by_it_alone() {
        let client = client(ClientAuthMethod::ClientSecretBasic);
        let id = client.client_id.as_str();
        let fits = |said: Value| {
            let claims = Map::from_iter([("may_act".to_owned(), said)]);
            may_act(&claims, "https://op.example", &client, "helper").is_ok()
        };
        assert!(may_act(&Map::new(), "https://op.example", &client, "helper").is_ok());
        assert!(fits(json!({"sub": "helper"})));
        assert!(fits(json!({"sub": "helper", "iss": "https://op.example"})));
        assert!(fits(json!({"client_id": id})));
        assert!(fits(json!({"sub": "helper", "client_id": id})));
        for somebody_else in [
            json!({"sub": "another"}),
            json!({"sub": "helper", "client_id": "another"}),
            json!({"sub": "helper", "iss": "https://other.example"}),
            json!({"iss": "https://op.example"}),
            json!({"sub": ["helper"]}),
            json!({}),
            json!("helper"),
            Value::Null,
        ] {
            assert!(!fits(somebody_else.clone()), "{somebody_else}");
        }
    }
}
