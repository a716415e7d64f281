//! `/account`: my sessions, my connected applications.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;

use super::{
    Browser, PageError,
    browser::PendingLogout,
    farewell::{TELLING, leave},
    flow,
    html::{PagePolicy, html, page, see_other},
    login::posted,
    query::PageQuery,
    texts::{Lang, Texts},
    views::{
        AccountPage, AskingApp, ConnectedApp, Contact, Device, Flash, Moment, Page, Person, Profile, ScopeLine,
        SessionRow,
    },
    waiting::PendingAnswer,
};
use crate::{
    adapters::http::App,
    application::{account::Overview, confirm_ciba::AskingClient},
    domain::{
        ids::{ClientId, SessionId},
        session::Session,
        user::User,
    },
};

/// What the action before did, as a word of ours in the address.
const DONE: &[(&str, Flash)] = &[
    ("session-ended", Flash::SessionEnded),
    ("others-ended", Flash::OthersEnded),
    ("app-removed", Flash::AppRemoved),
    ("request-gone", Flash::RequestGone),
    ("expired", Flash::FormExpired),
];

pub(super) async fn get(
    State(app): State<App>,
    browser: Browser,
    PageQuery(query): PageQuery,
) -> Result<Response, PageError> {
    let Some(session) = browser.session(&app).await? else {
        return Ok(see_other(&app.path("/login")));
    };
    let Some(overview) = app.account.overview(&session).await? else {
        return Ok(see_other(&app.path("/login")));
    };
    let waiting = app.confirm_ciba.waiting_for(&session).await?;
    let shown = page(&app, &browser, None);
    let flash = DONE
        .iter()
        .find(|(word, _)| query.get("done") == Some(word))
        .map(|(_, flash)| *flash);
    let now = app.clock.now().as_seconds();
    let shown = AccountPage {
        user: Person::new(overview.user.claims.name.as_deref(), overview.user.username.as_str()),
        profile: profile(&overview.user),
        asking: asking(&app, &shown, waiting, now),
        sessions: sessions(&shown.t, &overview, &session, now),
        apps: apps(&app, (shown.lang, &shown.t), &overview),
        flash,
        csrf: browser.csrf(&app).await?,
        page: shown,
    };
    html(&app, StatusCode::OK, &shown, &PagePolicy::default())
}

fn asking(app: &App, shown: &Page, waiting: Vec<AskingClient>, now: i64) -> Vec<AskingApp> {
    let row = |asking: AskingClient| AskingApp {
        app: flow::view(app, &asking.client, shown.lang),
        message: asking
            .request
            .message
            .as_ref()
            .map(|message| message.as_str().to_owned()),
        requested: Moment::ago(&shown.t, asking.request.requested_at.as_seconds(), now),
        request: PendingAnswer { asking }.id(),
    };
    waiting.into_iter().map(row).collect()
}

fn profile(user: &User) -> Profile {
    let contact = |value: &Option<String>, verified: Option<bool>| {
        value.clone().map(|value| Contact {
            value,
            verified: verified == Some(true),
        })
    };
    Profile {
        email: contact(&user.claims.email, user.claims.email_verified),
        phone: contact(&user.claims.phone_number, user.claims.phone_number_verified),
    }
}

fn sessions(texts: &Texts, overview: &Overview, own: &Session, now: i64) -> Vec<SessionRow> {
    let row = |session: &Session| SessionRow {
        id: session.sid.to_string(),
        device: Device::from_user_agent(
            texts,
            Some(session.user_agent.as_str()).filter(|agent| !agent.is_empty()),
        ),
        address: Some(session.address.clone()).filter(|address| !address.is_empty()),
        signed_in: Moment::on(texts, session.auth_time.as_seconds()),
        last_seen: Moment::ago(texts, session.last_seen_at.as_seconds(), now),
        current: session.sid == own.sid,
    };
    let mut rows: Vec<SessionRow> = overview.sessions.iter().map(row).collect();
    rows.sort_by_key(|row| !row.current);
    rows
}

fn apps(app: &App, (lang, texts): (Lang, &Texts), overview: &Overview) -> Vec<ConnectedApp> {
    let row = |(client, consent): &(
        std::sync::Arc<crate::domain::client::Client>,
        crate::domain::session::Consent,
    )| ConnectedApp {
        client_id: client.client_id.to_string(),
        app: flow::view(app, client, lang),
        scopes: consent
            .scope
            .iter()
            .map(|scope| ScopeLine::new(texts, scope))
            .chain(ScopeLine::of_claims(texts, consent.claims.iter().map(String::as_str)))
            .collect(),
        granted: Moment::on(texts, consent.granted_at.as_seconds()),
    };
    overview.apps.iter().map(row).collect()
}

pub(super) async fn post(State(app): State<App>, browser: Browser, request: Request) -> Result<Response, PageError> {
    let mut form = posted(request).await?;
    let Some(session) = browser.session(&app).await? else {
        return Ok(see_other(&app.path("/login")));
    };
    let back = |done: &str| see_other(&app.path(&format!("/account?done={done}")));
    if !browser.is_genuine(&form).await? {
        return Ok(back("expired"));
    }
    match form.take("action").as_deref() {
        Some("end-session") => {
            let sid = SessionId::new(form.take("session").unwrap_or_default());
            let ended = app.account.end_session(&session, &sid).await?;
            if sid == session.sid {
                return leave(&app, &browser, &session, ended, &PendingLogout::default()).await;
            }
            ended.told.tried_within(TELLING).await;
            Ok(back("session-ended"))
        }
        Some("end-all") => {
            let ended = app.account.end_every_session(&session).await?;
            leave(&app, &browser, &session, ended, &PendingLogout::default()).await
        }
        Some("end-others") => {
            let told = app.account.end_other_sessions(&session).await?;
            told.tried_within(TELLING).await;
            Ok(back("others-ended"))
        }
        Some("remove-app") => {
            let client = ClientId::new(form.take("client_id").unwrap_or_default());
            let told = app.account.remove_app(&session, &client).await?;
            told.tried_within(TELLING).await;
            Ok(back("app-removed"))
        }
        _ => Err(PageError::invalid_request("The action is unknown.")),
    }
}
