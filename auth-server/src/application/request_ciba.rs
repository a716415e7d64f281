//! Backchannel authentication requests (CIBA §7): an application asks a person who is not in front of it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use oauth_wire::{Form, GrantType, Scope};
use service_kit::{Clock, Entropy, Timestamp};

use crate::{
    application::{
        authorize::{AskedClaims, asked_claims, digest},
        ciba_pings::PingSeal,
        keyring::Keyring,
        policy::{OPENID, Policy},
        subjects::Subjects,
        token_call::TokenCall,
        token_error::TokenError,
    },
    domain::{
        ciba::{BindingMessage, DeliveryMode, NotificationToken, requested_expiry},
        client::Client,
        decoupled::{DecoupledKind, DecoupledRequest, DecoupledState},
        grant::GrantDetails,
        ids::{UserId, Username},
        throttle::{Attempt, ThrottleKey, ThrottlePolicy},
        user::User,
    },
    ports::{
        decoupled::{Asking, DecoupledRequests},
        store::{LoginThrottle, Users},
    },
};

/// Prefix of the requests' ids, for secret scanners.
const ID_PREFIX: &str = "hgb_";

/// Takes requests in.
#[derive(Clone)]
pub struct RequestCiba {
    pub policy: Arc<Policy>,
    pub requests: Arc<dyn DecoupledRequests>,
    pub users: Arc<dyn Users>,
    pub keyring: Arc<Keyring>,
    pub subjects: Subjects,
    pub seal: PingSeal,
    pub throttle: Arc<dyn LoginThrottle>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for RequestCiba {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestCiba").finish_non_exhaustive()
    }
}

/// What the client sends, beyond what every grant can ask for.
#[derive(Debug)]
pub struct CibaOrder {
    scope: Scope,
    hint: Hint,
    message: Option<BindingMessage>,
    claims: Option<String>,
    notification_token: Option<NotificationToken>,
    lifetime: Duration,
}

/// Whom the client means.
#[derive(Debug)]
enum Hint {
    /// A user name in the client's tenant.
    Login(String),
    /// An ID token that the client was given before.
    IdToken(String),
}

/// What it gets (CIBA §7.3).
#[derive(Debug)]
pub struct CibaAcknowledgement {
    pub auth_req_id: String,
    pub expires_in: Duration,
    pub interval: Duration,
}

fn invalid(reason: &str) -> TokenError {
    TokenError::InvalidRequest(reason.to_owned())
}

impl CibaOrder {
    /// Reads the parameters of CIBA §7.1.
    ///
    /// # Errors
    /// [`TokenError`] for what is missing, malformed or not supported. Nobody has been looked up then.
    pub fn read(form: &mut Form, policy: &Policy) -> Result<Self, TokenError> {
        // A signed request that is passed over, or a secret that nobody compares, would be less than the client relies on.
        for name in ["request", "request_uri", "user_code"] {
            if form.get(name).is_some() {
                return Err(TokenError::InvalidRequest(format!("{name} is not supported")));
            }
        }
        let Some(scope) = form.take("scope") else {
            return Err(invalid("scope is missing"));
        };
        let scope: Scope = scope
            .parse()
            .map_err(|_| TokenError::InvalidScope("scope holds a character that is not allowed"))?;
        if !scope.contains(OPENID) {
            return Err(TokenError::InvalidScope("scope must hold openid"));
        }
        let lifetime = match form.take("requested_expiry") {
            None => policy.ciba.lifetime,
            Some(text) => requested_expiry(&text, policy.ciba.max_lifetime)
                .ok_or_else(|| invalid("requested_expiry is not a positive number of seconds"))?,
        };
        let message = form.take("binding_message").map(|text| {
            BindingMessage::parse(&text).ok_or(TokenError::InvalidBindingMessage(
                "binding_message must be 1 to 100 characters that people can see",
            ))
        });
        let token = form.take("client_notification_token").map(|text| {
            NotificationToken::parse(text)
                .ok_or_else(|| invalid("client_notification_token is not a bearer token of at most 1024 characters"))
        });
        // As at the authorization endpoint acr_values is a wish. There is one class, and tokens tell it whatever was wished for.
        let _ = form.take("acr_values");
        Ok(Self {
            scope,
            hint: hint(form)?,
            message: message.transpose()?,
            claims: form.take("claims"),
            notification_token: token.transpose()?,
            lifetime,
        })
    }
}

/// CIBA §7.1: exactly one of the three.
fn hint(form: &mut Form) -> Result<Hint, TokenError> {
    match ["login_hint", "id_token_hint", "login_hint_token"].map(|name| form.take(name)) {
        [Some(name), None, None] => Ok(Hint::Login(name)),
        [None, Some(token), None] => Ok(Hint::IdToken(token)),
        // What is in such a token is between its issuer and a provider; there is no form of it that this one has agreed on.
        [None, None, Some(_)] => Err(invalid(
            "login_hint_token is not supported; send login_hint or id_token_hint",
        )),
        _ => Err(invalid("exactly one of login_hint and id_token_hint must be sent")),
    }
}

impl RequestCiba {
    /// Keeps the request for its person and makes its id. Everything that does not depend on the person is judged first, so that an
    /// answer about them costs an attempt.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn request(&self, call: &TokenCall, order: CibaOrder) -> Result<CibaAcknowledgement, TokenError> {
        let client = call.client.as_ref();
        // CIBA §7.1: the client has authenticated, so it is none without a secret or a key.
        let mode = client
            .delivery_mode()
            .filter(|_| !client.is_public() && client.may_use(GrantType::Ciba));
        let mode = mode.ok_or(TokenError::UnauthorizedClient(
            "the client may not use backchannel authentication",
        ))?;
        let token = match mode {
            // Who polls is told nothing.
            DeliveryMode::Poll => None,
            DeliveryMode::Ping => Some(
                order
                    .notification_token
                    .as_ref()
                    .ok_or_else(|| invalid("client_notification_token is missing"))?,
            ),
        };
        if !order.scope.is_subset(&client.scope) {
            return Err(TokenError::InvalidScope(
                "scope holds a value that the client is not registered for",
            ));
        }
        let now = self.clock.now();
        let AskedClaims { names, users: named } = self.claims(client, &order)?;
        let details = GrantDetails {
            resources: call.resources.clone(),
            authorization_details: call.own_details(&order.scope, now)?,
            claims: names.to_parameter(),
            ..GrantDetails::default()
        };
        let policy = self.policy.ciba;
        let of_client = ThrottleKey::CibaClient(client.client_id.clone());
        self.count(&of_client, policy.requests, now).await?;
        let user = self.person(client, &order.hint, named.as_ref(), now).await?;
        let of_person = ThrottleKey::CibaPerson(client.client_id.clone(), user.clone());
        self.count(&of_person, policy.per_person, now).await?;
        let auth_req_id = format!("{ID_PREFIX}{}", self.entropy.secret());
        let digest = digest(&auth_req_id);
        let ping = token.map(|token| self.seal.seal(&digest, &auth_req_id, token));
        let request = DecoupledRequest {
            digest,
            kind: DecoupledKind::Ciba,
            user_code: None,
            client: client.client_id.clone(),
            tenant: client.tenant.clone(),
            user: Some(user),
            scope: order.scope,
            details,
            message: order.message,
            ping: ping.transpose()?,
            requested_at: now,
            expires_at: now + order.lifetime,
            interval: policy.interval,
            next_poll_at: now,
            state: DecoupledState::Pending,
        };
        match self.requests.insert_asking(&request, policy.open).await? {
            Asking::Saved => Ok(CibaAcknowledgement {
                auth_req_id,
                expires_in: order.lifetime,
                interval: policy.interval,
            }),
            Asking::Inactive => Err(TokenError::UnknownUser),
            Asking::TooMany { until } => Err(TokenError::Throttled { until }),
        }
    }

    async fn count(&self, key: &ThrottleKey, policy: ThrottlePolicy, now: Timestamp) -> Result<(), TokenError> {
        match self.throttle.count_attempt(key, policy, now).await? {
            Attempt::Allowed => Ok(()),
            Attempt::Blocked(until) => Err(TokenError::Throttled { until }),
        }
    }

    /// The person of the hint, if they may be asked. The attempt is counted first, so that parallel guesses cannot slip through, and
    /// given back when it leads to somebody: a client whose hints lead nowhere is finding out who has an account.
    async fn person(
        &self,
        client: &Client,
        hint: &Hint,
        named: Option<&BTreeSet<UserId>>,
        now: Timestamp,
    ) -> Result<UserId, TokenError> {
        let of_misses = ThrottleKey::CibaUnknown(client.client_id.clone());
        self.count(&of_misses, self.policy.ciba.unknown, now).await?;
        let found = match hint {
            Hint::Login(name) => match Username::parse(name) {
                Ok(name) => self.users.find_user_by_name(&client.tenant, &name).await?,
                Err(_) => None,
            },
            Hint::IdToken(token) => match self.subject(client, token)? {
                Some(user) => self.users.find_user(&user).await?,
                None => None,
            },
        };
        // Locked, deleted, of another tenant, unknown: which one is not told.
        let may_be_asked = |user: &User| {
            let is_named = named.is_none_or(|named| named.contains(&user.sub));
            is_named && user.is_active() && user.tenant == client.tenant
        };
        let asked = found.filter(may_be_asked);
        let user = asked.ok_or(TokenError::UnknownUser)?;
        self.throttle.forgive_attempt(&of_misses).await?;
        Ok(user.sub)
    }

    /// The person that an ID token of ours names. It may have expired: it says who is meant, not that they are there.
    fn subject(&self, client: &Client, token: &str) -> Result<Option<UserId>, TokenError> {
        let token = self.keyring.verify(token).ok().filter(|token| token.is_typ("JWT"));
        let claim = |name: &str| token.as_ref()?.claims.get(name)?.as_str();
        // CIBA §7.1: one that was issued to this very client. Whoever found somebody else's cannot make their telephone ring by it.
        let is_its_own =
            claim("iss") == Some(self.policy.issuer.as_str()) && claim("aud") == Some(client.client_id.as_str());
        let sub = claim("sub").filter(|_| is_its_own);
        let sub = sub.ok_or_else(|| invalid("id_token_hint is not an ID token that this client was given"))?;
        Ok(self.subjects.known_to(client, sub))
    }

    /// What `claims` (OpenID Connect Core §5.5) asks for, and the people of whom the hint must mean one.
    fn claims(&self, client: &Client, order: &CibaOrder) -> Result<AskedClaims, TokenError> {
        let Some(text) = &order.claims else {
            return Ok(AskedClaims::default());
        };
        asked_claims(text, client, &order.scope, &self.subjects).map_err(|(_, reason)| invalid(reason))
    }
}
