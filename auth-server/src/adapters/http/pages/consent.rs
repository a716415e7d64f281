//! `/consent`: what an application may do.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use oauth_wire::{Form, Prompt};

use super::{
    Browser, PageError,
    browser::Pending,
    details_form, flow,
    html::{PagePolicy, html, page, see_other},
    login::posted,
    query::PageQuery,
    texts::Texts,
    views::{CallLine, ConsentPage, Person, ScopeLine},
};
use crate::{
    adapters::http::App,
    application::authorize::Decision,
    domain::{
        authorization::AuthorizationRequest,
        client::Client,
        session::{Consent, Session},
    },
};

fn expired() -> PageError {
    PageError::invalid_request("The request has expired. Please start again at the application.")
}

pub(super) async fn get(
    State(app): State<App>,
    browser: Browser,
    PageQuery(query): PageQuery,
) -> Result<Response, PageError> {
    let pending = browser.pending(&app, query.get("request")).await?.ok_or_else(expired)?;
    show(&app, &browser, &pending, false).await
}

async fn show(app: &App, browser: &Browser, pending: &Pending, choice_is_wrong: bool) -> Result<Response, PageError> {
    let session = browser.session(app).await?;
    match (app.authorize.decide(&pending.request, session.as_ref()).await?, session) {
        (Decision::Consent { client, known }, Some(session)) => {
            let user = app.account.person(&session.user).await?.ok_or_else(expired)?;
            let shown = page(app, browser, pending.request.ui_locales.as_deref());
            let calls = pending.request.authorization_details.calls().enumerate();
            let shown = ConsentPage {
                scopes: lines(&shown.t, &pending.request, known.as_ref()),
                calls: calls
                    .map(|(number, call)| CallLine::new(&shown.t, number, call))
                    .collect(),
                choice_is_wrong,
                app: flow::view(app, &client, shown.lang),
                page: shown,
                user: Person::new(user.claims.name.as_deref(), user.username.as_str()),
                identified_by: client
                    .client_id
                    .as_metadata_url()
                    .is_some()
                    .then(|| client.client_id.to_string()),
                unproven: is_unproven(&client, &pending.request.redirect_uri),
                redirect_host: flow::host(&pending.request.redirect_uri),
                request: Some(pending.id.clone()),
                csrf: browser.csrf(app).await?,
            };
            let policy = PagePolicy::default().leading_to(&pending.request.redirect_uri);
            html(app, StatusCode::OK, &shown, &policy)
        }
        // Signed out meanwhile, or agreed in another tab: the flow knows where to go.
        _ => flow::resume(app, browser, pending).await,
    }
}

/// Whether any program on the device that listens at the address could have asked: nobody vouches for the client, it has no secret, and
/// loopback is everybody's.
fn is_unproven(client: &Client, redirect_uri: &str) -> bool {
    let is_strangers = client.client_id.as_metadata_url().is_some() || client.client_id.looks_dynamic();
    is_strangers && client.is_public() && !redirect_uri.starts_with("https:")
}

/// What the application asks for, in words.
fn lines(texts: &Texts, request: &AuthorizationRequest, known: Option<&Consent>) -> Vec<ScopeLine> {
    let mark = |line: ScopeLine, is_known: bool| match is_known {
        true => line,
        false => line.marked_new(),
    };
    let scopes = request.scope.iter().map(|scope| {
        let is_known = known.is_none_or(|known| known.scope.contains(scope));
        mark(ScopeLine::new(texts, scope), is_known)
    });
    let claims = request.claims_beyond_scope();
    let are_known = known.is_none_or(|known| claims.iter().all(|name| known.claims.contains(*name)));
    let claims = ScopeLine::of_claims(texts, claims.into_iter()).map(|line| mark(line, are_known));
    scopes.chain(claims).collect()
}

pub(super) async fn post(State(app): State<App>, browser: Browser, request: Request) -> Result<Response, PageError> {
    let mut form = posted(request).await?;
    let pending = browser.pending(&app, form.get("request")).await?.ok_or_else(expired)?;
    if !browser.is_genuine(&form).await? {
        return Err(PageError::invalid_request(
            "The form is not one that this browser was given. Please try again.",
        ));
    }
    let session = browser.session(&app).await?;
    match (form.get("action"), session) {
        (Some("allow"), Some(session)) => allow(&app, &browser, &pending, &session, &mut form).await,
        (Some("deny"), _) => {
            let step = app.authorize.deny(&pending.request).await?;
            flow::follow(&app, &browser, &pending, step).await
        }
        (Some("switch"), Some(session)) => switch(&app, &browser, pending, &session).await,
        (Some("allow" | "switch"), None) => flow::resume(&app, &browser, &pending).await,
        _ => Err(PageError::invalid_request("The action is neither allow nor deny.")),
    }
}

async fn allow(
    app: &App,
    browser: &Browser,
    pending: &Pending,
    session: &Session,
    form: &mut Form,
) -> Result<Response, PageError> {
    let asked = &pending.request;
    let choices = details_form::choices(form, &asked.authorization_details);
    let agreed = choices.and_then(|choices| asked.agreed(&choices, app.clock.now().as_seconds()));
    let Ok(agreed) = agreed else {
        return show(app, browser, pending, true).await;
    };
    let step = app.authorize.consent(&agreed, session).await?;
    flow::follow(app, browser, pending, step).await
}

/// Signs the person out of this browser and asks who they are, for the same request.
async fn switch(app: &App, browser: &Browser, pending: Pending, session: &Session) -> Result<Response, PageError> {
    app.sign_out.end_session(&session.sid).await?;
    let mut request = pending.request;
    request.prompt.remove(&Prompt::None);
    browser.clear().await?;
    let id = browser.keep(app, request).await?;
    Ok(see_other(&app.path(&format!("/login?request={id}"))))
}
