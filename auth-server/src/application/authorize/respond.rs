//! Authorization responses on their way out: as plain parameters, or signed for the client, and perhaps encrypted to it (JARM).

use std::time::Duration;

use oauth_wire::ResponseMode;
use serde_json::{Map, Value};

use super::{Authorize, CodeResponse, ErrorResponse, RespondError};
use crate::{
    application::{
        client_sealer::Sealing,
        meters::{count_code, count_error},
    },
    domain::ids::ClientId,
};

/// How long a signed response may be used (JARM §2.1 recommends ten minutes at most). The code inside lives shorter.
const JARM_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// A response as it leaves: to a URI that the request's validation has found registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub redirect_uri: String,
    pub delivery: Delivery,
    pub fields: Vec<(&'static str, String)>,
}

/// How the browser carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// In the query of the redirect URI (RFC 6749 §4.1.2).
    Query,
    /// By a form that posts itself (OAuth 2.0 Form Post Response Mode §2).
    Form,
}

impl Delivery {
    pub(super) fn of(mode: ResponseMode) -> Self {
        match mode {
            // JARM §2.3.4: for a code `jwt` means `query.jwt`.
            ResponseMode::Query | ResponseMode::Jwt | ResponseMode::QueryJwt => Self::Query,
            ResponseMode::FormPost | ResponseMode::FormPostJwt => Self::Form,
        }
    }
}

impl Authorize {
    /// The code on its way to the client.
    ///
    /// # Errors
    /// [`RespondError`].
    pub async fn code_leaves(&self, response: CodeResponse) -> Result<Outgoing, RespondError> {
        let CodeResponse {
            client,
            redirect_uri,
            response_mode,
            code,
            state,
        } = response;
        count_code();
        let fields = [("code", Some(code)), ("state", state)];
        self.leave(&client, redirect_uri, response_mode, fields).await
    }

    /// An error on its way to the client (RFC 6749 §4.1.2.1).
    ///
    /// # Errors
    /// [`RespondError`].
    pub async fn error_leaves(&self, response: ErrorResponse) -> Result<Outgoing, RespondError> {
        let ErrorResponse {
            client,
            redirect_uri,
            response_mode,
            error,
            description,
            state,
        } = response;
        count_error(error.as_str());
        let fields = [
            ("error", Some(error.as_str().to_owned())),
            ("error_description", Some(description.to_owned())),
            ("state", state),
        ];
        self.leave(&client, redirect_uri, response_mode, fields).await
    }

    /// Every response passes here, and says who it is from (RFC 9207; inside a JWT by its own `iss`).
    async fn leave<const N: usize>(
        &self,
        client: &ClientId,
        redirect_uri: String,
        mode: ResponseMode,
        fields: [(&'static str, Option<String>); N],
    ) -> Result<Outgoing, RespondError> {
        let sent = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let fields = match mode {
            ResponseMode::Query | ResponseMode::FormPost => sent.chain([("iss", self.policy.issuer.clone())]).collect(),
            ResponseMode::Jwt | ResponseMode::QueryJwt | ResponseMode::FormPostJwt => {
                vec![("response", self.sign_response(client, sent).await?)]
            }
        };
        Ok(Outgoing {
            redirect_uri,
            delivery: Delivery::of(mode),
            fields,
        })
    }

    /// JARM §2.1, §2.2: the parameters as claims, for this client alone and not for long, encrypted to it if it asked for that.
    async fn sign_response(
        &self,
        client: &ClientId,
        fields: impl Iterator<Item = (&'static str, String)>,
    ) -> Result<String, RespondError> {
        let client = self.clients.find(client).await?.ok_or(RespondError::Gone)?;
        let mut claims: Map<String, Value> = fields.map(|(name, value)| (name.to_owned(), value.into())).collect();
        claims.insert("iss".into(), self.policy.issuer.as_str().into());
        claims.insert("aud".into(), client.client_id.as_str().into());
        claims.insert("exp".into(), (self.clock.now() + JARM_LIFETIME).as_seconds().into());
        let claims = Value::Object(claims).to_string();
        let sealing = Sealing::of_authorization_response(&client);
        Ok(self
            .sealer
            .seal(&client, sealing, Some("JWT"), claims.as_bytes())
            .await?)
    }
}
