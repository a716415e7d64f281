//! `/approve`: people see what an application asks from elsewhere, and decide (CIBA §8).
//!
//! Nothing is kept in the browser: a request goes by the digest of its id, which opens nothing, and is its person's alone.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use oauth_wire::Form;

use super::{
    Browser, PageError, details_form, flow,
    html::{PagePolicy, html, page, see_other},
    login::posted,
    query::PageQuery,
    views::{ApproveDonePage, ApproveOutcome, ApprovePage, CallLine, Moment, Person, ScopeLine},
    waiting::PendingAnswer,
};
use crate::{
    adapters::http::App,
    application::{
        confirm_ciba::{AskingClient, Standing},
        decide_decoupled::AllowError,
        requested_claims::beyond_scope,
    },
    domain::session::Session,
};

/// What the page answers with, by a word of ours in the address.
const OUTCOMES: &[(&str, ApproveOutcome)] = &[("allowed", ApproveOutcome::Allowed), ("denied", ApproveOutcome::Denied)];

/// Who asks for what. Always shown, also for applications that need no consent elsewhere: only the person can tell whether they have started it.
pub(super) async fn get(
    State(app): State<App>,
    browser: Browser,
    PageQuery(query): PageQuery,
) -> Result<Response, PageError> {
    let Some(id) = query.get("request") else {
        return Ok(see_other(&app.path("/account")));
    };
    let session = browser.session(&app).await?;
    match (PendingAnswer::find(&app, Some(id)).await?, session) {
        (Some(pending), Some(session)) => question(&app, &browser, &pending, &session, false).await,
        (Some(pending), None) => Ok(sign_in(&app, &pending)),
        (None, _) => Ok(gone(&app)),
    }
}

fn gone(app: &App) -> Response {
    see_other(&app.path("/account?done=request-gone"))
}

fn sign_in(app: &App, pending: &PendingAnswer) -> Response {
    see_other(&app.path(&format!("/login?request={}", pending.id())))
}

async fn question(
    app: &App,
    browser: &Browser,
    pending: &PendingAnswer,
    session: &Session,
    choice_is_wrong: bool,
) -> Result<Response, PageError> {
    let asking = &pending.asking;
    match app.confirm_ciba.standing(asking, session) {
        Standing::MayAnswer => {}
        Standing::MustProveAgain => return Ok(sign_in(app, pending)),
        // Somebody else's request reads like none.
        Standing::IsAnother => return Ok(gone(app)),
    }
    let Some(user) = app.account.person(&session.user).await? else {
        return Ok(sign_in(app, pending));
    };
    let shown = page(app, browser, None);
    let calls = asking.request.details.authorization_details.calls().enumerate();
    let shown = ApprovePage {
        scopes: lines(asking, &shown),
        calls: calls
            .map(|(number, call)| CallLine::new(&shown.t, number, call))
            .collect(),
        choice_is_wrong,
        app: flow::view(app, &asking.client, shown.lang),
        user: Person::new(user.claims.name.as_deref(), user.username.as_str()),
        message: asking
            .request
            .message
            .as_ref()
            .map(|message| message.as_str().to_owned()),
        requested: Moment::ago(
            &shown.t,
            asking.request.requested_at.as_seconds(),
            app.clock.now().as_seconds(),
        ),
        request: Some(pending.id()),
        csrf: browser.csrf(app).await?,
        page: shown,
    };
    html(app, StatusCode::OK, &shown, &PagePolicy::default())
}

/// What the application asks for, in words.
fn lines(asking: &AskingClient, shown: &super::views::Page) -> Vec<ScopeLine> {
    let scopes = asking.request.scope.iter().map(|scope| ScopeLine::new(&shown.t, scope));
    let claims = beyond_scope(&asking.request.details, &asking.request.scope);
    scopes
        .chain(ScopeLine::of_claims(&shown.t, claims.into_iter()))
        .collect()
}

pub(super) async fn post(State(app): State<App>, browser: Browser, request: Request) -> Result<Response, PageError> {
    let mut form = posted(request).await?;
    if !browser.is_genuine(&form).await? {
        return Ok(see_other(&app.path("/account?done=expired")));
    }
    let Some(pending) = PendingAnswer::find(&app, form.get("request")).await? else {
        return Ok(gone(&app));
    };
    let Some(session) = browser.session(&app).await? else {
        return Ok(sign_in(&app, &pending));
    };
    let asking = &pending.asking;
    let (decided, outcome) = match form.get("action") {
        Some("allow") if app.confirm_ciba.standing(asking, &session) == Standing::MustProveAgain => {
            return Ok(sign_in(&app, &pending));
        }
        Some("allow") => match allow(&app, asking, &session, &mut form).await {
            Ok(allowed) => (allowed, "allowed"),
            Err(AllowError::NotAPart(_)) => return question(&app, &browser, &pending, &session, true).await,
            Err(AllowError::Store(error)) => return Err(error.into()),
        },
        Some("deny") => (app.confirm_ciba.deny(asking, &session).await?, "denied"),
        Some("switch") => {
            app.sign_out.end_session(&session.sid).await?;
            browser.clear().await?;
            return Ok(sign_in(&app, &pending));
        }
        _ => return Err(PageError::invalid_request("The action is neither allow nor deny.")),
    };
    Ok(match decided {
        true => see_other(&app.path(&format!("/approve/done?outcome={outcome}"))),
        false => gone(&app),
    })
}

async fn allow(app: &App, asking: &AskingClient, session: &Session, form: &mut Form) -> Result<bool, AllowError> {
    let choices = details_form::choices(form, &asking.request.details.authorization_details)?;
    app.confirm_ciba.allow(asking, session, &choices).await
}

/// `/approve/done`: the person may turn to where they came from.
pub(super) async fn done(
    State(app): State<App>,
    browser: Browser,
    PageQuery(query): PageQuery,
) -> Result<Response, PageError> {
    let named = OUTCOMES.iter().find(|(word, _)| query.get("outcome") == Some(word));
    let Some((_, outcome)) = named else {
        return Ok(see_other(&app.path("/account")));
    };
    let shown = ApproveDonePage {
        page: page(&app, &browser, None),
        outcome: *outcome,
    };
    std::future::ready(html(&app, StatusCode::OK, &shown, &PagePolicy::default())).await
}
