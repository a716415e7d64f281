//! From parameters to a request that may go on: whom it comes from, where its answer goes, and then all the rest.

use std::sync::Arc;

use oauth_wire::{Form, OAuthErrorCode, ResponseMode};

use super::{Authorize, AuthorizeError, Delivery, ErrorResponse, MAX_VALUE_BYTES, page, push::is_reference};
use crate::application::policy::OPENID;
use crate::domain::{authorization::AuthorizationRequest, client::Client, ids::ClientId};

/// Where parameters come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entrance {
    /// At the authorization endpoint, through a browser that could have changed them.
    Browser,
    /// From the client itself (RFC 9126).
    Push,
}

impl Authorize {
    /// Checks what comes to the authorization endpoint. Client and redirect URI first: until they are known to be right, nothing is sent
    /// anywhere.
    ///
    /// # Errors
    /// [`AuthorizeError`].
    pub async fn receive(&self, mut form: Form) -> Result<AuthorizationRequest, AuthorizeError> {
        let client = self.client(&mut form).await?;
        match form.get("request_uri") {
            Some(reference) if is_reference(reference) => self.follow(&client, reference).await,
            _ => {
                let form = match form.get("request_uri") {
                    // It is refused whatever the object there says, so nobody is asked for that.
                    Some(_) if self.must_push(&client) => without_object(form),
                    _ => self.unpack(form, &client, Entrance::Browser).await?,
                };
                self.validate(form, &client, Entrance::Browser)
            }
        }
    }

    /// Checks the parameters of a known client.
    pub(super) fn validate(
        &self,
        mut form: Form,
        client: &Client,
        entrance: Entrance,
    ) -> Result<AuthorizationRequest, AuthorizeError> {
        let redirect_uri = redirect_uri(&mut form, client, entrance)?;
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
                client: client.client_id.clone(),
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
        if Delivery::of(response_mode) == Delivery::Form && !is_web(&redirect_uri) {
            let description = "a response_mode by form needs an http or https redirect_uri";
            return Err(AuthorizeError::Redirect(Box::new(ErrorResponse {
                client: client.client_id.clone(),
                redirect_uri,
                response_mode: ResponseMode::Query,
                error: OAuthErrorCode::InvalidRequest,
                description,
                state,
            })));
        }
        if entrance == Entrance::Browser && self.must_push(client) {
            let description = "the request must be pushed first (request_uri is missing)";
            return Err(refuse(OAuthErrorCode::InvalidRequest, description));
        }
        let checked = self
            .parameters(&mut form, client)
            .map_err(|(error, description)| refuse(error, description))?;
        Ok(AuthorizationRequest {
            client_id: client.client_id.clone(),
            response_mode,
            received_at: self.clock.now(),
            scope: checked.scope,
            default_scope: checked.default_scope,
            nonce: checked.nonce,
            code_challenge: checked.challenge.map(|challenge| challenge.as_str().to_owned()),
            prompt: checked.prompt,
            max_age: checked.max_age,
            resources: checked.resources,
            authorization_details: checked.authorization_details,
            details_agreed: false,
            login_hint: form.take("login_hint"),
            ui_locales: form.take("ui_locales"),
            hinted_user: checked.hinted_user,
            named_users: checked.claims.users,
            claims: checked.claims.names,
            confirmation: checked.confirmation,
            pushed: None,
            redirect_uri,
            state,
        })
    }

    /// Whether requests of the client are taken from the client itself only (RFC 9126 §5, §6).
    fn must_push(&self, client: &Client) -> bool {
        client.protocol.require_pushed_authorization_requests || self.policy.require_pushed_authorization_requests
    }

    async fn client(&self, form: &mut Form) -> Result<Arc<Client>, AuthorizeError> {
        let Some(client_id) = form.take("client_id") else {
            return Err(page(
                OAuthErrorCode::InvalidRequest,
                "The parameter client_id is missing.",
            ));
        };
        let client_id = ClientId::new(client_id);
        let client = self.clients.find(&client_id).await?;
        if let Some(client) = client {
            return match client.is_active() {
                true => Ok(client),
                false => Err(page(OAuthErrorCode::InvalidClient, UNREGISTERED)),
            };
        }
        // Whoever wrote the document behind a client_id is the one who reads this.
        let sentence = match self.clients.why_unknown(&client_id).await {
            Some(error) => format!("The client_id is a URL, but {error}."),
            None => UNREGISTERED.to_owned(),
        };
        Err(page(OAuthErrorCode::InvalidClient, sentence))
    }
}

const UNREGISTERED: &str = "The client_id is not the one of a registered application.";

fn without_object(mut form: Form) -> Form {
    form.take("request");
    form.take("request_uri");
    form
}

fn redirect_uri(form: &mut Form, client: &Client, entrance: Entrance) -> Result<String, AuthorizeError> {
    let Some(asked) = form.take("redirect_uri") else {
        let scope = form.get("scope").unwrap_or_default();
        return match client.redirect_uris.as_slice() {
            // RFC 6749 §3.1.2.3: not needed when there is but one. OpenID Connect Core §3.1.2.1 and FAPI 2.0 §5.3.2.2 need it all the same.
            [only] if entrance == Entrance::Browser && !scope.split(' ').any(|word| word == OPENID) => {
                Ok(only.as_str().to_owned())
            }
            _ => Err(page(
                OAuthErrorCode::InvalidRequest,
                "The parameter redirect_uri is missing.",
            )),
        };
    };
    match client.redirect_uri(&asked) {
        Some(_) => Ok(asked),
        None => Err(page(
            OAuthErrorCode::InvalidRequest,
            "The redirect_uri is not registered for this application.",
        )),
    }
}

pub(super) fn is_web(uri: &str) -> bool {
    uri.starts_with("https://") || uri.starts_with("http://")
}
