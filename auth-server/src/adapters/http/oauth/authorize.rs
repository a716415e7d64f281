//! Authorization endpoint (RFC 6749 §3.1, OpenID Connect Core §3.1.2).

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::Method;
use oauth_wire::Form;

use crate::{
    adapters::http::{
        App,
        pages::{Browser, PageError, flow, see_other},
        wire::{self, FormRejection, MAX_QUERY_BYTES},
    },
    application::authorize::AuthorizeError,
};

/// GET and POST (§3.1.2.1).
pub(crate) async fn any(State(app): State<App>, browser: Browser, request: Request) -> Result<Response, PageError> {
    let is_post = request.method() == Method::POST;
    let form = match read(request).await {
        Ok(form) => form,
        Err(sentence) => return Err(PageError::invalid_request(sentence)),
    };
    // A POST from another site comes without our SameSite=Lax cookie; the same request as a top-level GET brings it along.
    if is_post && !browser.sent_cookie() {
        let query = form.encode();
        if query.len() <= MAX_QUERY_BYTES {
            return Ok(see_other(&app.path(&format!("/oauth2/authorize?{query}"))));
        }
    }
    let request = match app.authorize.receive(form).await {
        Ok(valid) => valid,
        Err(AuthorizeError::Page { code, sentence }) => return Err(PageError::oauth(code, sentence)),
        Err(AuthorizeError::Redirect(error)) => return flow::error_response(&app, &browser, *error).await,
        Err(AuthorizeError::Store(error)) => return Err(error.into()),
    };
    flow::begin(&app, &browser, request).await
}

async fn read(request: Request) -> Result<Form, String> {
    if request.method() == Method::POST {
        return wire::form(request).await.map_err(|rejection| match rejection {
            FormRejection::TooLarge => "The request is too large.".to_owned(),
            FormRejection::Invalid(reason) => format!("The request is not valid: {reason}."),
        });
    }
    let query = request.uri().query().unwrap_or_default();
    Form::parse(query.as_bytes()).map_err(|error| format!("The request is not valid: {error}."))
}
