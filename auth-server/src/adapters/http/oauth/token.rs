//! Token endpoint (RFC 6749 §3.2).

use std::{net::IpAddr, sync::Arc};

use axum::{Extension, extract::State, response::Response};
use http::StatusCode;
use oauth_wire::{AuthorizationDetails, Confirmation, Form, GrantType, Scope, TokenReply, token::TokenType};
use service_kit::listener::PeerAddress;

use super::{
    OAuthError,
    bound_request::{BoundRequest, TokenEndpoint},
};
use crate::{
    adapters::http::{App, wire::no_store_json},
    application::{
        exchange_code::CodeExchange, exchange_token::TokenExchange, issue::Issued, password_grant::PasswordRequest,
        policy::UNKNOWN_RESOURCE, token_call::TokenCall, token_error::TokenError,
    },
    domain::{client::Client, decoupled::DecoupledKind},
};

/// Issues tokens for one of the grants.
pub(crate) async fn post(
    State(app): State<App>,
    peer: Option<Extension<PeerAddress>>,
    request: BoundRequest<TokenEndpoint>,
) -> Result<Response, OAuthError> {
    let unspent = request.unspent.clone();
    let address = peer.map(|Extension(PeerAddress(peer))| peer.ip());
    let outcome = serve(&app, request, address).await;
    // Whatever became of the request, what it showed is used up, and tokens leave only then.
    unspent.spend().await.map_err(TokenError::from)?;
    outcome
}

async fn serve(
    app: &App,
    request: BoundRequest<TokenEndpoint>,
    address: Option<IpAddr>,
) -> Result<Response, OAuthError> {
    let BoundRequest {
        client,
        mut form,
        confirmation,
        unspent,
        ..
    } = request;
    let call = TokenCall {
        confirmation,
        unspent,
        ..call(app, client, &mut form)?
    };
    let grant = grant_type(&mut form)?;
    let issued = issue(app, &call, grant, &mut form, address).await;
    let issued = issued.map_err(|error| OAuthError::at(error, app.clock.now()))?;
    app.meters.tokens_issued(grant);
    app.client_use.note(&call.client.client_id).await;
    Ok(no_store_json(StatusCode::OK, &reply(issued, &call)))
}

async fn issue(
    app: &App,
    call: &TokenCall,
    grant: GrantType,
    form: &mut Form,
    address: Option<IpAddr>,
) -> Result<Issued, TokenError> {
    // These spend what the request showed in their own transaction.
    if !matches!(grant, GrantType::AuthorizationCode | GrantType::RefreshToken) {
        call.unspent.spend().await?;
    }
    match grant {
        GrantType::AuthorizationCode => {
            let exchange = CodeExchange {
                code: required(form, "code")?,
                redirect_uri: form.take("redirect_uri"),
                code_verifier: form.take("code_verifier"),
            };
            app.exchange_code.exchange(call, exchange).await
        }
        GrantType::RefreshToken => {
            let token = required(form, "refresh_token")?;
            app.rotate_refresh.rotate(call, &token, scope(form)?).await
        }
        GrantType::ClientCredentials => app.client_credentials.issue(call, scope(form)?).await,
        GrantType::Password => {
            let request = PasswordRequest {
                username: required(form, "username")?,
                password: required(form, "password")?.into(),
                address,
                scope: scope(form)?,
            };
            app.password_grant.issue(call, request).await
        }
        GrantType::DeviceCode => {
            let code = required(form, "device_code")?;
            app.redeem_decoupled.redeem(call, DecoupledKind::Device, &code).await
        }
        GrantType::Ciba => {
            let code = required(form, "auth_req_id")?;
            app.redeem_decoupled.redeem(call, DecoupledKind::Ciba, &code).await
        }
        GrantType::TokenExchange => {
            let exchange = TokenExchange {
                subject_token: required(form, "subject_token")?,
                subject_token_type: required(form, "subject_token_type")?,
                actor_token: form.take("actor_token"),
                actor_token_type: form.take("actor_token_type"),
                requested_token_type: form.take("requested_token_type"),
                audience: form.take_all("audience"),
                scope: scope(form)?,
            };
            app.exchange_token.exchange(call, exchange).await
        }
        GrantType::JwtBearer => {
            let assertion = required(form, "assertion")?;
            app.accept_assertion.accept(call, &assertion, scope(form)?).await
        }
    }
}

/// What a request asks for in every grant alike, but for what it proves.
pub(super) fn call(app: &App, client: Arc<Client>, form: &mut Form) -> Result<TokenCall, TokenError> {
    let details = form.take("authorization_details");
    let details = details.map(|text| AuthorizationDetails::parse(&text)).transpose()?;
    let resources = app.policy.known_resources(form.take_all("resource"));
    Ok(TokenCall {
        resources: resources.ok_or(TokenError::InvalidTarget(UNKNOWN_RESOURCE))?,
        authorization_details: details,
        ..TokenCall::plain(client)
    })
}

fn reply(issued: Issued, call: &TokenCall) -> TokenReply {
    TokenReply {
        access_token: issued.access_token,
        issued_token_type: issued.issued_token_type.map(str::to_owned),
        token_type: match call.confirmation {
            Some(Confirmation::Jkt(_)) => TokenType::Dpop,
            Some(Confirmation::X5tS256(_)) | None => TokenType::Bearer,
        },
        expires_in: issued.expires_in.as_secs(),
        refresh_token: issued.refresh_token,
        scope: issued.scope,
        id_token: issued.id_token,
        authorization_details: issued.authorization_details,
    }
}

fn grant_type(form: &mut Form) -> Result<GrantType, TokenError> {
    let asked = required(form, "grant_type")?;
    GrantType::from_wire(&asked).ok_or(TokenError::UnsupportedGrantType)
}

fn required(form: &mut Form, name: &str) -> Result<String, TokenError> {
    form.take(name)
        .ok_or_else(|| TokenError::InvalidRequest(format!("{name} is missing")))
}

pub(super) fn scope(form: &mut Form) -> Result<Option<Scope>, TokenError> {
    let asked = form.take("scope").map(|text| text.parse()).transpose();
    asked.map_err(|_| TokenError::InvalidScope("scope holds a character that is not allowed"))
}
