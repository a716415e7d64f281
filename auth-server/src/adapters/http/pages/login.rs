//! `/login`: username and password.

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use oauth_wire::{Form, Prompt};

use super::{
    Browser, PageError,
    browser::Pending,
    flow,
    html::{PagePolicy, html, page, see_other},
    query::PageQuery,
    views::{LoginPage, LoginProblem, LoginPurpose},
};
use crate::{
    adapters::http::{App, wire},
    application::sign_in::{Credentials, SignInError},
    domain::{client::Client, directory::DEFAULT_TENANT, ids::TenantId},
};

pub(super) async fn get(
    State(app): State<App>,
    browser: Browser,
    PageQuery(query): PageQuery,
) -> Result<Response, PageError> {
    let pending = browser.pending(&app, query.get("request")).await?;
    let gone = query.get("request").is_some() && pending.is_none();
    let problem = gone.then_some(LoginProblem::FormExpired);
    let hint = pending
        .as_ref()
        .and_then(|pending| pending.request.login_hint.clone())
        .unwrap_or_default();
    show(&app, &browser, pending.as_ref(), hint, problem).await
}

pub(super) async fn post(State(app): State<App>, browser: Browser, request: Request) -> Result<Response, PageError> {
    let mut form = posted(request).await?;
    let pending = browser.pending(&app, form.get("request")).await?;
    let username = form.take("username").unwrap_or_default();
    let gone = form.get("request").is_some() && pending.is_none();
    if gone || !browser.is_genuine(&form).await? {
        return show(
            &app,
            &browser,
            pending.as_ref(),
            username,
            Some(LoginProblem::FormExpired),
        )
        .await;
    }
    if form.get("action") == Some("cancel") {
        return cancel(&app, &browser, pending).await;
    }
    let credentials = Credentials {
        tenant: tenant(&app, pending.as_ref()).await?,
        username: username.clone(),
        password: form.take("password").unwrap_or_default().into(),
        address: browser.address(),
        device: browser.device(),
    };
    let before = browser.session(&app).await?;
    match app.sign_in.open_session(credentials, browser.origin(), before).await {
        Ok((session, user)) => {
            browser.sign_in(&app, &session).await?;
            let device = app.sign_in.devices.issue(&user, app.entropy.as_ref())?;
            let next = match &pending {
                Some(pending) => flow::resume(&app, &browser, pending).await?,
                None => see_other(&app.path("/account")),
            };
            Ok((browser.device_cookie(&app, device), next).into_response())
        }
        Err(error) => {
            let problem = problem(&app, error)?;
            show(&app, &browser, pending.as_ref(), username, Some(problem)).await
        }
    }
}

/// A page's own form.
pub(super) async fn posted(request: Request) -> Result<Form, PageError> {
    wire::form(request)
        .await
        .map_err(|_| PageError::invalid_request("The form could not be read."))
}

/// Nobody signs in: the application is told, or there is none and the home page is as good as any.
async fn cancel(app: &App, browser: &Browser, pending: Option<Pending>) -> Result<Response, PageError> {
    let Some(pending) = pending else {
        return Ok(see_other(&app.path("/")));
    };
    let step = app.authorize.deny(&pending.request).await?;
    flow::follow(app, browser, &pending, step).await
}

fn problem(app: &App, error: SignInError) -> Result<LoginProblem, PageError> {
    match error {
        SignInError::WrongCredentials => Ok(LoginProblem::WrongCredentials),
        SignInError::Throttled { until } => Ok(LoginProblem::Throttled {
            seconds: until.since(app.clock.now()).as_secs().max(1),
        }),
        SignInError::Busy => Ok(LoginProblem::Busy),
        SignInError::Store(_) | SignInError::Password(_) | SignInError::OpenSsl(_) => Err(error.into()),
    }
}

/// People sign in to the tenant of the application that sent them.
async fn tenant(app: &App, pending: Option<&Pending>) -> Result<TenantId, PageError> {
    let client = client(app, pending).await?;
    Ok(client.map_or_else(|| TenantId::new(DEFAULT_TENANT), |client| client.tenant.clone()))
}

pub(super) async fn client(app: &App, pending: Option<&Pending>) -> Result<Option<std::sync::Arc<Client>>, PageError> {
    match pending {
        Some(pending) => Ok(app.authorize.client_of(&pending.request).await?),
        None => Ok(None),
    }
}

async fn show(
    app: &App,
    browser: &Browser,
    pending: Option<&Pending>,
    username: String,
    problem: Option<LoginProblem>,
) -> Result<Response, PageError> {
    let client = client(app, pending).await?;
    let session = browser.session(app).await?;
    let request = pending.map(|pending| &pending.request);
    let again = session.is_some() && request.is_some_and(|r| r.wants(Prompt::Login) || r.max_age.is_some());
    let mut policy = PagePolicy::default();
    if let (Some(_), Some(request)) = (&client, request) {
        policy = policy.leading_to(&request.redirect_uri);
    }
    let page = page(app, browser, request.and_then(|request| request.ui_locales.as_deref()));
    let shown = LoginPage {
        app: client.as_deref().map(|client| flow::view(app, client, page.lang)),
        page,
        purpose: if again {
            LoginPurpose::ProveAgain
        } else {
            LoginPurpose::SignIn
        },
        username,
        problem,
        request: pending.map(|pending| pending.id.clone()),
        csrf: browser.csrf(app).await?,
    };
    let status = match problem {
        None => StatusCode::OK,
        Some(LoginProblem::WrongCredentials | LoginProblem::FormExpired) => StatusCode::BAD_REQUEST,
        Some(LoginProblem::Throttled { .. }) => StatusCode::TOO_MANY_REQUESTS,
        Some(LoginProblem::Busy) => StatusCode::SERVICE_UNAVAILABLE,
    };
    html(app, status, &shown, &policy)
}
