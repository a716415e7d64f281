//! `/login`: username and password.

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use oauth_wire::Form;

use super::{
    Browser, PageError, flow,
    html::{PagePolicy, html, page, see_other},
    query::PageQuery,
    views::{LoginPage, LoginProblem, LoginPurpose},
    waiting::Waiting,
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
    let waiting = Waiting::find(&app, &browser, query.get("request")).await?;
    let gone = query.get("request").is_some() && waiting.is_none();
    let problem = gone.then_some(LoginProblem::FormExpired);
    let hint = waiting
        .as_ref()
        .and_then(|waiting| waiting.request()?.login_hint.clone())
        .unwrap_or_default();
    show(&app, &browser, waiting.as_ref(), hint, problem).await
}

pub(super) async fn post(State(app): State<App>, browser: Browser, request: Request) -> Result<Response, PageError> {
    let mut form = posted(request).await?;
    let waiting = Waiting::find(&app, &browser, form.get("request")).await?;
    let username = form.take("username").unwrap_or_default();
    let gone = form.get("request").is_some() && waiting.is_none();
    if gone || !browser.is_genuine(&form).await? {
        return show(
            &app,
            &browser,
            waiting.as_ref(),
            username,
            Some(LoginProblem::FormExpired),
        )
        .await;
    }
    if form.get("action") == Some("cancel") {
        return match waiting {
            Some(waiting) => waiting.cancel(&app, &browser).await,
            // There is no application to be told: the home page is as good as any.
            None => Ok(see_other(&app.path("/"))),
        };
    }
    let credentials = Credentials {
        tenant: tenant(&app, waiting.as_ref()).await?,
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
            let next = match &waiting {
                Some(waiting) => waiting.resume(&app, &browser).await?,
                None => see_other(&app.path("/account")),
            };
            Ok((browser.device_cookie(&app, device), next).into_response())
        }
        Err(error) => {
            let problem = problem(&app, error)?;
            show(&app, &browser, waiting.as_ref(), username, Some(problem)).await
        }
    }
}

/// A page's own form.
pub(super) async fn posted(request: Request) -> Result<Form, PageError> {
    wire::form(request)
        .await
        .map_err(|_| PageError::invalid_request("The form could not be read."))
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
async fn tenant(app: &App, waiting: Option<&Waiting>) -> Result<TenantId, PageError> {
    let client = client(app, waiting).await?;
    Ok(client.map_or_else(|| TenantId::new(DEFAULT_TENANT), |client| client.tenant.clone()))
}

async fn client(app: &App, waiting: Option<&Waiting>) -> Result<Option<std::sync::Arc<Client>>, PageError> {
    match waiting {
        Some(waiting) => waiting.client(app).await,
        None => Ok(None),
    }
}

async fn show(
    app: &App,
    browser: &Browser,
    waiting: Option<&Waiting>,
    username: String,
    problem: Option<LoginProblem>,
) -> Result<Response, PageError> {
    let client = client(app, waiting).await?;
    let session = browser.session(app).await?;
    let request = waiting.and_then(Waiting::request);
    let again = session.is_some() && waiting.is_some_and(Waiting::wants_proof);
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
        request: waiting.map(Waiting::id),
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
