//! The authorization endpoint: from a request to a code (RFC 6749 §4.1, OpenID Connect Core §3.1.2).

use std::{collections::BTreeSet, sync::Arc};

use oauth_wire::{
    CodeChallenge, Display, Form, GrantType, OAuthErrorCode, PkceError, Prompt, ResponseMode, ResponseType, Scope,
};
use service_kit::{Clock, Entropy};
use sha2::{Digest, Sha256};

use crate::{
    application::{authenticate_client::ClientDirectory, issue::AMR_PASSWORD, keyring::Keyring, policy::Policy},
    domain::{
        authorization::AuthorizationRequest,
        client::Client,
        grant::{CodeGrant, Grant, GrantDetails},
        ids::{ClientId, CodeDigest, GrantId, UserId},
        session::{Consent, Session},
    },
    ports::store::{Codes, Consents, StoreError, StoreResult},
};

/// Prefix of authorization codes, for secret scanners.
const CODE_PREFIX: &str = "hgc_";
/// Longest value that is kept with a request (`nonce`, `state`, `login_hint`), in bytes. More is refused, never cut.
pub const MAX_VALUE_BYTES: usize = 4096;

/// The use cases around the authorization endpoint.
#[derive(Clone)]
pub struct Authorize {
    pub policy: Arc<Policy>,
    pub clients: ClientDirectory,
    pub codes: Arc<dyn Codes>,
    pub consents: Arc<dyn Consents>,
    pub keyring: Arc<Keyring>,
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
    pub redirect_uri: String,
    pub response_mode: ResponseMode,
    pub error: OAuthErrorCode,
    pub description: &'static str,
    pub state: Option<String>,
}

/// A code for the client.
#[derive(Debug, Clone)]
pub struct CodeResponse {
    pub redirect_uri: String,
    pub response_mode: ResponseMode,
    pub code: String,
    pub state: Option<String>,
}

/// What a valid request needs next, given who is signed in. Nothing has been issued.
#[derive(Debug)]
pub enum Decision {
    /// The person has to sign in (again).
    SignIn,
    /// The person has to agree to some scopes; `known` are the ones that they agreed to before.
    Consent { client: Arc<Client>, known: Scope },
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
}

fn page(code: OAuthErrorCode, sentence: impl Into<String>) -> AuthorizeError {
    AuthorizeError::Page {
        code,
        sentence: sentence.into(),
    }
}

impl Authorize {
    /// Checks a request. Client and redirect URI first: until they are known to be right, nothing is sent anywhere.
    ///
    /// # Errors
    /// [`AuthorizeError`].
    pub async fn validate(&self, mut form: Form) -> Result<(AuthorizationRequest, Arc<Client>), AuthorizeError> {
        let client = self.client(&mut form).await?;
        let redirect_uri = redirect_uri(&mut form, &client)?;
        let state = form.take("state");
        // Kept while the person signs in, so it is bounded; refused, never cut.
        for (name, value) in [
            ("state", state.as_deref()),
            ("login_hint", form.get("login_hint")),
            ("ui_locales", form.get("ui_locales")),
        ] {
            if value.is_some_and(|value| value.len() > MAX_VALUE_BYTES) {
                let sentence = format!("The parameter {name} has more than {MAX_VALUE_BYTES} bytes.");
                return Err(page(OAuthErrorCode::InvalidRequest, sentence));
            }
        }
        let asked_mode = form.take("response_mode");
        let mode = asked_mode.as_deref().map(ResponseMode::from_wire);
        let refuse = |error, description| {
            AuthorizeError::Redirect(Box::new(ErrorResponse {
                redirect_uri: redirect_uri.clone(),
                response_mode: mode.flatten().unwrap_or(ResponseMode::Query),
                error,
                description,
                state: state.clone(),
            }))
        };
        let response_mode = match mode {
            None => ResponseMode::Query,
            Some(Some(mode)) => mode,
            Some(None) => return Err(refuse(OAuthErrorCode::InvalidRequest, "response_mode is not supported")),
        };
        // A form can be posted to a web address only.
        if response_mode == ResponseMode::FormPost && !is_web(&redirect_uri) {
            let description = "response_mode=form_post needs an http or https redirect_uri";
            return Err(AuthorizeError::Redirect(Box::new(ErrorResponse {
                redirect_uri,
                response_mode: ResponseMode::Query,
                error: OAuthErrorCode::InvalidRequest,
                description,
                state,
            })));
        }
        let checked = self
            .parameters(&mut form, &client)
            .map_err(|(error, description)| refuse(error, description))?;
        let request = AuthorizationRequest {
            client_id: client.client_id.clone(),
            response_mode,
            received_at: self.clock.now(),
            scope: checked.scope,
            nonce: checked.nonce,
            code_challenge: checked.challenge.map(|challenge| challenge.as_str().to_owned()),
            prompt: checked.prompt,
            max_age: checked.max_age,
            login_hint: form.take("login_hint"),
            ui_locales: form.take("ui_locales"),
            hinted_user: checked.hinted_user,
            redirect_uri,
            state,
        };
        Ok((request, client))
    }

    async fn client(&self, form: &mut Form) -> Result<Arc<Client>, AuthorizeError> {
        let Some(client_id) = form.take("client_id") else {
            return Err(page(
                OAuthErrorCode::InvalidRequest,
                "The parameter client_id is missing.",
            ));
        };
        let client = self.clients.find(&ClientId::new(client_id)).await?;
        client.filter(|client| client.is_active()).ok_or_else(|| {
            page(
                OAuthErrorCode::InvalidClient,
                "The client_id is not the one of a registered application.",
            )
        })
    }

    fn parameters(&self, form: &mut Form, client: &Client) -> Result<Checked, (OAuthErrorCode, &'static str)> {
        use OAuthErrorCode as E;
        // OpenID Connect Core §6: silently ignoring a request object would drop what the client meant to be binding.
        for (name, error, description) in [
            ("request", E::RequestNotSupported, "request is not supported"),
            ("request_uri", E::RequestUriNotSupported, "request_uri is not supported"),
            (
                "registration",
                E::RegistrationNotSupported,
                "registration is not supported",
            ),
        ] {
            if form.get(name).is_some() {
                return Err((error, description));
            }
        }
        response_type(form.take("response_type").as_deref(), client)?;
        let scope = scope(form.take("scope").as_deref(), client)?;
        // RFC 8707 §2: a target that we issue no tokens for must not be passed over in silence.
        if form
            .take_all("resource")
            .iter()
            .any(|resource| !self.policy.is_known_resource(resource))
        {
            return Err((E::InvalidTarget, "resource is not one that tokens are issued for"));
        }
        let challenge = challenge(form, client)?;
        let prompt = prompt(form.take("prompt").as_deref())?;
        let max_age = match form.take("max_age").map(|text| text.parse::<u64>()) {
            None => None,
            Some(Ok(seconds)) => Some(seconds),
            Some(Err(_)) => return Err((E::InvalidRequest, "max_age is not a number of seconds")),
        };
        if form
            .take("display")
            .is_some_and(|text| Display::from_wire(&text).is_none())
        {
            return Err((E::InvalidRequest, "display is not one of page, popup, touch, wap"));
        }
        let nonce = form.take("nonce");
        if nonce.as_ref().is_some_and(|nonce| nonce.len() > MAX_VALUE_BYTES) {
            return Err((E::InvalidRequest, "nonce is too long"));
        }
        let hinted_user = match form.take("id_token_hint") {
            None => None,
            Some(hint) => Some(
                self.hinted(&hint)
                    .ok_or((E::InvalidRequest, "id_token_hint is not an ID token of this issuer"))?,
            ),
        };
        Ok(Checked {
            scope,
            challenge,
            prompt,
            max_age,
            nonce,
            hinted_user,
        })
    }

    /// The person that an ID token of ours names. It may have expired (OpenID Connect Core §3.1.2.1 does not ask that it is current).
    fn hinted(&self, hint: &str) -> Option<UserId> {
        let token = self.keyring.verify(hint).ok()?;
        let is_ours = token.is_typ("JWT") && token.claims.get("iss")?.as_str()? == self.policy.issuer;
        is_ours.then_some(UserId::new(token.claims.get("sub")?.as_str()?))
    }

    /// Decides what a valid request needs next.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn decide(&self, request: &AuthorizationRequest, session: Option<&Session>) -> StoreResult<Decision> {
        let client = self.clients.find(&request.client_id).await?;
        let Some(client) = client.filter(|client| client.is_active()) else {
            return Ok(Decision::Gone);
        };
        let signed_in = session
            .filter(|session| session.tenant == client.tenant && request.is_signed_in_by(session, self.clock.now()));
        let Some(session) = signed_in else {
            return Ok(match request.is_silent() {
                true => Decision::Refuse(error(
                    request,
                    OAuthErrorCode::LoginRequired,
                    "the person is not signed in",
                )),
                false => Decision::SignIn,
            });
        };
        let consent = match client.auto_approve {
            true => None,
            false => self.consents.find_consent(&session.user, &client.client_id).await?,
        };
        if request.scopes_to_consent(&client, consent.as_ref()).is_empty() {
            return Ok(Decision::Ready(client));
        }
        Ok(match request.is_silent() {
            true => Decision::Refuse(error(
                request,
                OAuthErrorCode::ConsentRequired,
                "the person has not agreed yet",
            )),
            false => Decision::Consent {
                client,
                known: consent.map(|consent| consent.scope).unwrap_or_default(),
            },
        })
    }

    /// Decides, and issues the code when nothing is missing.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn advance(&self, request: &AuthorizationRequest, session: Option<&Session>) -> StoreResult<Step> {
        Ok(match (self.decide(request, session).await?, session) {
            (Decision::Ready(client), Some(session)) => {
                Step::Respond(self.issue_code(request, &client, session).await?)
            }
            (Decision::SignIn | Decision::Ready(_), _) => Step::SignIn,
            (Decision::Consent { .. }, _) => Step::Consent,
            (Decision::Refuse(error), _) => Step::Refuse(error),
            (Decision::Gone, _) => Step::Gone,
        })
    }

    /// Remembers that the person agreed to everything that the request asks for, if the request was waiting for just that; then goes on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn consent(&self, request: &AuthorizationRequest, session: &Session) -> StoreResult<Step> {
        // Only somebody whose sign-in satisfies the request, in the client's own tenant, may agree to it.
        if let Decision::Consent { client, known } = self.decide(request, Some(session)).await? {
            let consent = Consent {
                user: session.user.clone(),
                client: client.client_id.clone(),
                scope: known.union(&request.scope),
                granted_at: self.clock.now(),
            };
            self.consents.save_consent(&consent).await?;
        }
        self.advance(request, Some(session)).await
    }

    /// The client of a request, for the pages to show.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn client_of(&self, request: &AuthorizationRequest) -> StoreResult<Option<Arc<Client>>> {
        self.clients.find(&request.client_id).await
    }

    /// The answer to a person who said no.
    pub fn denied(&self, request: &AuthorizationRequest) -> ErrorResponse {
        error(request, OAuthErrorCode::AccessDenied, "the person did not agree")
    }

    async fn issue_code(
        &self,
        request: &AuthorizationRequest,
        client: &Client,
        session: &Session,
    ) -> StoreResult<CodeResponse> {
        let code = format!("{CODE_PREFIX}{}", self.entropy.secret());
        let now = self.clock.now();
        let grant = Grant {
            grant_id: GrantId::new(self.entropy.id()),
            client: client.client_id.clone(),
            tenant: client.tenant.clone(),
            user: session.user.clone(),
            sid: Some(session.sid.clone()),
            scope: request.scope.clone(),
            auth_time: session.auth_time,
            amr: vec![AMR_PASSWORD.to_owned()],
            details: GrantDetails::default(),
        };
        let row = CodeGrant {
            digest: digest(&code),
            grant,
            redirect_uri: request.redirect_uri.clone(),
            code_challenge: request.challenge(),
            nonce: request.nonce.clone(),
            issued_at: now,
            expires_at: now + self.policy.lifetimes.code,
            redeemed_at: None,
        };
        self.codes.insert_code(&row).await?;
        Ok(CodeResponse {
            redirect_uri: request.redirect_uri.clone(),
            response_mode: request.response_mode,
            code,
            state: request.state.clone(),
        })
    }
}

/// What the database holds instead of a code.
pub fn digest(code: &str) -> CodeDigest {
    CodeDigest(Sha256::digest(code.as_bytes()).into())
}

struct Checked {
    scope: Scope,
    challenge: Option<CodeChallenge>,
    prompt: BTreeSet<Prompt>,
    max_age: Option<u64>,
    nonce: Option<String>,
    hinted_user: Option<UserId>,
}

fn error(request: &AuthorizationRequest, error: OAuthErrorCode, description: &'static str) -> ErrorResponse {
    ErrorResponse {
        redirect_uri: request.redirect_uri.clone(),
        response_mode: request.response_mode,
        error,
        description,
        state: request.state.clone(),
    }
}

fn redirect_uri(form: &mut Form, client: &Client) -> Result<String, AuthorizeError> {
    // OpenID Connect Core §3.1.2.1 requires the parameter even when only one URI is registered.
    let Some(asked) = form.take("redirect_uri") else {
        return Err(page(
            OAuthErrorCode::InvalidRequest,
            "The parameter redirect_uri is missing.",
        ));
    };
    match client.redirect_uri(&asked) {
        Some(_) => Ok(asked),
        None => Err(page(
            OAuthErrorCode::InvalidRequest,
            "The redirect_uri is not registered for this application.",
        )),
    }
}

fn is_web(uri: &str) -> bool {
    uri.starts_with("https://") || uri.starts_with("http://")
}

fn response_type(asked: Option<&str>, client: &Client) -> Result<(), (OAuthErrorCode, &'static str)> {
    let Some(asked) = asked else {
        return Err((OAuthErrorCode::InvalidRequest, "response_type is missing"));
    };
    let Some(response_type) = ResponseType::from_wire(asked) else {
        return Err((
            OAuthErrorCode::UnsupportedResponseType,
            "response_type is not supported",
        ));
    };
    if !client.response_types.contains(&response_type) || !client.may_use(GrantType::AuthorizationCode) {
        return Err((
            OAuthErrorCode::UnauthorizedClient,
            "the client may not use this response_type",
        ));
    }
    Ok(())
}

fn scope(asked: Option<&str>, client: &Client) -> Result<Scope, (OAuthErrorCode, &'static str)> {
    let scope: Scope = asked.unwrap_or_default().parse().map_err(|_| {
        (
            OAuthErrorCode::InvalidScope,
            "scope holds a character that is not allowed",
        )
    })?;
    if scope.is_empty() {
        return Err((OAuthErrorCode::InvalidScope, "scope is missing"));
    }
    if !scope.is_subset(&client.scope) {
        return Err((
            OAuthErrorCode::InvalidScope,
            "scope holds a value that the client is not registered for",
        ));
    }
    Ok(scope)
}

fn challenge(form: &mut Form, client: &Client) -> Result<Option<CodeChallenge>, (OAuthErrorCode, &'static str)> {
    let method = form.take("code_challenge_method");
    let Some(challenge) = form.take("code_challenge") else {
        // RFC 9700 §2.1.1: public clients always; others unless the operator relaxed it.
        return match client.require_pkce || client.is_public() {
            true => Err((
                OAuthErrorCode::InvalidRequest,
                "code_challenge is missing (PKCE is required)",
            )),
            false => Ok(None),
        };
    };
    CodeChallenge::parse(&challenge, method.as_deref())
        .map(Some)
        .map_err(|error| {
            let description = match error {
                PkceError::MethodNotS256 => "code_challenge_method must be S256",
                PkceError::MalformedChallenge | PkceError::MalformedVerifier => {
                    "code_challenge is not a SHA-256 digest in base64url"
                }
            };
            (OAuthErrorCode::InvalidRequest, description)
        })
}

fn prompt(asked: Option<&str>) -> Result<BTreeSet<Prompt>, (OAuthErrorCode, &'static str)> {
    let words = asked.unwrap_or_default().split(' ').filter(|word| !word.is_empty());
    let prompt: Option<BTreeSet<Prompt>> = words.map(Prompt::from_wire).collect();
    let Some(prompt) = prompt else {
        return Err((OAuthErrorCode::InvalidRequest, "prompt holds an unknown value"));
    };
    if prompt.contains(&Prompt::None) && prompt.len() > 1 {
        return Err((
            OAuthErrorCode::InvalidRequest,
            "prompt=none cannot be combined with another value",
        ));
    }
    Ok(prompt)
}
