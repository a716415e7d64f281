//! Signing out: by the person, or by a relying party that sends the person (OpenID Connect RP-Initiated Logout).

use axum::{
    body::HttpBody as _,
    extract::{Request, State},
    response::Response,
};
use http::{Method, StatusCode};
use oauth_wire::Form;

use super::{
    Browser, PageError,
    browser::PendingLogout,
    farewell::{afterwards, leave},
    html::{PagePolicy, html, page, see_other},
    login::posted,
    query::PageQuery,
    views::{LogoutPage, Person},
};
use crate::{
    adapters::http::{App, wire::MAX_QUERY_BYTES},
    application::sign_out::{LogoutError, LogoutRequest},
};

/// `/connect/logout`, GET and POST (§2). Who is signed in is asked first, unless the request shows that it means this very session.
pub(super) async fn end_session(
    State(app): State<App>,
    browser: Browser,
    PageQuery(query): PageQuery,
    request: Request,
) -> Result<Response, PageError> {
    let is_post = request.method() == Method::POST;
    let mut form = match is_post {
        // Every parameter is optional (§2), so a POST of nothing is a request as well.
        true if request.body().is_end_stream() => Form::default(),
        true => posted(request).await?,
        false => query,
    };
    // A cross-site POST comes without our SameSite=Lax cookie; as a top-level GET it brings it along.
    if is_post && !browser.sent_cookie() {
        let query = form.encode();
        if query.len() > MAX_QUERY_BYTES {
            return Err(PageError::invalid_request("The request is too long."));
        }
        return Ok(see_other(&app.path(&format!("/connect/logout?{query}"))));
    }
    let asked = LogoutRequest {
        id_token_hint: form.take("id_token_hint"),
        client_id: form.take("client_id"),
        post_logout_redirect_uri: form.take("post_logout_redirect_uri"),
        state: form.take("state"),
        ui_locales: form.take("ui_locales"),
    };
    let valid = app.sign_out.validate(asked).await.map_err(|error| match error {
        LogoutError::Invalid(sentence) => PageError::invalid_request(sentence),
        LogoutError::Store(error) => error.into(),
    })?;
    let session = browser.session(&app).await?;
    let proven = session.as_ref().is_some_and(|session| valid.proves(session));
    let logout = PendingLogout {
        id: app.entropy.id(),
        client: valid.client.map(|client| client.client_id.clone()),
        redirect: valid.redirect.map(|uri| uri.as_str().to_owned()),
        state: valid.state,
        ui_locales: valid.ui_locales,
    };
    match session {
        None => afterwards(&app, &logout).await,
        Some(session) if proven => {
            let ended = app.sign_out.end_session(&session.sid).await?;
            leave(&app, &browser, &session, ended, &logout).await
        }
        Some(_) => {
            browser.keep_logout(&logout).await?;
            Ok(see_other(&app.path(&format!("/logout?request={}", logout.id))))
        }
    }
}

/// `/logout`: the question.
pub(super) async fn get(
    State(app): State<App>,
    browser: Browser,
    PageQuery(query): PageQuery,
) -> Result<Response, PageError> {
    let Some(session) = browser.session(&app).await? else {
        return Ok(see_other(&app.path("/logged-out")));
    };
    let logout = browser.pending_logout(query.get("request")).await?;
    let user = app.account.person(&session.user).await?;
    let client = match logout.as_ref().and_then(|logout| logout.client.as_ref()) {
        Some(id) => app.sign_out.client(id).await?,
        None => None,
    };
    let locales = logout.as_ref().and_then(|logout| logout.ui_locales.as_deref());
    let shown = LogoutPage {
        page: page(&app, &browser, locales),
        user: user.map(|user| Person::new(user.claims.name.as_deref(), user.username.as_str())),
        app_name: client.map(|client| client.client_name.clone()),
        request: logout.as_ref().map(|logout| logout.id.clone()),
        csrf: browser.csrf(&app).await?,
    };
    let mut policy = PagePolicy::default();
    if let Some(redirect) = logout.and_then(|logout| logout.redirect) {
        policy = policy.leading_to(&redirect);
    }
    html(&app, StatusCode::OK, &shown, &policy)
}

/// `/logout`: the answer.
pub(super) async fn post(State(app): State<App>, browser: Browser, request: Request) -> Result<Response, PageError> {
    let form = posted(request).await?;
    let Some(session) = browser.session(&app).await? else {
        return Ok(see_other(&app.path("/logged-out")));
    };
    if !browser.is_genuine(&form).await? {
        return Err(PageError::invalid_request(
            "The form is not one that this browser was given. Please try again.",
        ));
    }
    match form.get("action") {
        Some("logout") => {
            // Only what this very form was shown for: a relying party must not lead away somebody who logs out on their own.
            let logout = browser.pending_logout(form.get("request")).await?.unwrap_or_default();
            let ended = app.sign_out.end_session(&session.sid).await?;
            leave(&app, &browser, &session, ended, &logout).await
        }
        Some("cancel") => {
            browser.forget_logout().await?;
            Ok(see_other(&app.path("/")))
        }
        _ => Err(PageError::invalid_request("The action is neither logout nor cancel.")),
    }
}
