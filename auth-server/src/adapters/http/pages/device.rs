//! `/device`: people bring the code that a device shows, see who asks for what, and decide (RFC 8628 §3.3).

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header};
use oauth_wire::Form;
use qrcode::{EcLevel, QrCode, render::svg};

use super::{
    Browser, PageError, details_form, flow,
    html::{PagePolicy, html, page, see_other},
    login::posted,
    query::PageQuery,
    views::{CallLine, DeviceConsentPage, DeviceDonePage, DeviceOutcome, DevicePage, DeviceProblem, Person, ScopeLine},
    waiting::PendingDevice,
};
use crate::{
    adapters::http::App,
    application::{
        confirm_device::{Typed, Typist, WaitingDevice},
        decide_decoupled::AllowError,
        request_device::{VERIFICATION_PATH, complete},
    },
    domain::{decoupled::UserCode, session::Session},
};

/// As many characters of what somebody typed are shown again.
const SHOWN_AGAIN: usize = 32;
/// Smallest width of a QR code, in pixels.
const QR_PIXELS: u32 = 240;

/// What the page answers with, by a word of ours in the address.
const OUTCOMES: &[(&str, DeviceOutcome)] = &[("allowed", DeviceOutcome::Allowed), ("denied", DeviceOutcome::Denied)];

pub(super) async fn get(
    State(app): State<App>,
    browser: Browser,
    PageQuery(query): PageQuery,
) -> Result<Response, PageError> {
    // RFC 8628 §3.3.1: a code that came with the address is filled in, and the person still presses the button.
    let typed = query.get("user_code").unwrap_or_default();
    show(&app, &browser, typed, None).await
}

pub(super) async fn post(State(app): State<App>, browser: Browser, request: Request) -> Result<Response, PageError> {
    let form = posted(request).await?;
    let typed = form.get("user_code").unwrap_or_default();
    if !browser.is_genuine(&form).await? {
        return show(&app, &browser, typed, Some(DeviceProblem::FormExpired)).await;
    }
    let session = browser.session(&app).await?;
    let typist = Typist {
        person: session.as_ref().map(|session| &session.user),
        address: browser.address(),
    };
    let problem = match app.confirm_device.look_up(typed, typist).await? {
        Typed::Known(code) => match app.confirm_device.find(&code).await? {
            Some(device) => return ask(&app, &browser, session.as_ref(), code, &device).await,
            None => DeviceProblem::Unknown,
        },
        Typed::Unknown => DeviceProblem::Unknown,
        Typed::Blocked { until } => DeviceProblem::Throttled {
            seconds: until.since(app.clock.now()).as_secs().max(1),
        },
    };
    show(&app, &browser, typed, Some(problem)).await
}

async fn ask(
    app: &App,
    browser: &Browser,
    session: Option<&Session>,
    code: UserCode,
    device: &WaitingDevice,
) -> Result<Response, PageError> {
    let pending = PendingDevice::keep(app, browser, code, device.client.client_id.clone()).await?;
    Ok(match may_decide(session, device) {
        Some(_) => see_other(&pending.address(app)),
        None => sign_in(app, &pending),
    })
}

/// Somebody who is signed in to the tenant of the device's application.
fn may_decide<'a>(session: Option<&'a Session>, device: &WaitingDevice) -> Option<&'a Session> {
    session.filter(|session| session.tenant == device.client.tenant)
}

fn sign_in(app: &App, pending: &PendingDevice) -> Response {
    see_other(&app.path(&format!("/login?request={}", pending.id)))
}

async fn show(
    app: &App,
    browser: &Browser,
    typed: &str,
    problem: Option<DeviceProblem>,
) -> Result<Response, PageError> {
    let code = UserCode::parse(typed).map(|code| code.to_string());
    let shown = DevicePage {
        page: page(app, browser, None),
        user_code: code.unwrap_or_else(|| typed.chars().take(SHOWN_AGAIN).collect()),
        problem,
        csrf: browser.csrf(app).await?,
    };
    let status = match problem {
        None => StatusCode::OK,
        Some(DeviceProblem::Unknown | DeviceProblem::FormExpired | DeviceProblem::Gone) => StatusCode::BAD_REQUEST,
        Some(DeviceProblem::Throttled { .. }) => StatusCode::TOO_MANY_REQUESTS,
    };
    html(app, status, &shown, &PagePolicy::default())
}

/// `/device/consent`: who asks for what. Always shown, also for applications that need no consent elsewhere: only the person can tell
/// whether the device is theirs (RFC 8628 §5.4).
pub(super) async fn consent(
    State(app): State<App>,
    browser: Browser,
    PageQuery(query): PageQuery,
) -> Result<Response, PageError> {
    match waiting(&app, &browser, query.get("request")).await? {
        Some((pending, device)) => question(&app, &browser, &pending, &device, false).await,
        None => show(&app, &browser, "", Some(DeviceProblem::Gone)).await,
    }
}

async fn question(
    app: &App,
    browser: &Browser,
    pending: &PendingDevice,
    device: &WaitingDevice,
    choice_is_wrong: bool,
) -> Result<Response, PageError> {
    let session = browser.session(app).await?;
    let Some(session) = may_decide(session.as_ref(), device) else {
        return Ok(sign_in(app, pending));
    };
    let Some(user) = app.account.person(&session.user).await? else {
        return Ok(sign_in(app, pending));
    };
    let shown = page(app, browser, None);
    let scopes = device.request.scope.iter().map(|scope| ScopeLine::new(&shown.t, scope));
    let calls = device.request.details.authorization_details.calls().enumerate();
    let shown = DeviceConsentPage {
        scopes: scopes.collect(),
        calls: calls
            .map(|(number, call)| CallLine::new(&shown.t, number, call))
            .collect(),
        choice_is_wrong,
        app: flow::view(app, &device.client, shown.lang),
        user: Person::new(user.claims.name.as_deref(), user.username.as_str()),
        user_code: pending.user_code.to_string(),
        request: Some(pending.id.clone()),
        csrf: browser.csrf(app).await?,
        page: shown,
    };
    html(app, StatusCode::OK, &shown, &PagePolicy::default())
}

pub(super) async fn decide(State(app): State<App>, browser: Browser, request: Request) -> Result<Response, PageError> {
    let mut form = posted(request).await?;
    if !browser.is_genuine(&form).await? {
        return show(&app, &browser, "", Some(DeviceProblem::FormExpired)).await;
    }
    let Some((pending, device)) = waiting(&app, &browser, form.get("request")).await? else {
        return show(&app, &browser, "", Some(DeviceProblem::Gone)).await;
    };
    let session = browser.session(&app).await?;
    let Some(session) = may_decide(session.as_ref(), &device) else {
        return Ok(sign_in(&app, &pending));
    };
    let (decided, outcome) = match form.get("action") {
        Some("allow") => match allow(&app, &device, session, &mut form).await {
            Ok(allowed) => (allowed, "allowed"),
            Err(AllowError::NotAPart(_)) => return question(&app, &browser, &pending, &device, true).await,
            Err(AllowError::Store(error)) => return Err(error.into()),
        },
        Some("deny") => (app.confirm_device.deny(&device).await?, "denied"),
        Some("switch") => return switch(&app, &browser, &pending, session).await,
        _ => return Err(PageError::invalid_request("The action is neither allow nor deny.")),
    };
    pending.forget(&app, &browser).await?;
    match decided {
        true => Ok(see_other(&app.path(&format!("/device/done?outcome={outcome}")))),
        false => show(&app, &browser, "", Some(DeviceProblem::Gone)).await,
    }
}

async fn allow(app: &App, device: &WaitingDevice, session: &Session, form: &mut Form) -> Result<bool, AllowError> {
    let choices = details_form::choices(form, &device.request.details.authorization_details)?;
    app.confirm_device.allow(device, session, &choices).await
}

/// Signs the person out of this browser and asks who they are, for the same device.
async fn switch(
    app: &App,
    browser: &Browser,
    pending: &PendingDevice,
    session: &Session,
) -> Result<Response, PageError> {
    app.sign_out.end_session(&session.sid).await?;
    browser.clear().await?;
    let kept = PendingDevice::keep(app, browser, pending.user_code.clone(), pending.client.clone()).await?;
    Ok(sign_in(app, &kept))
}

async fn waiting(
    app: &App,
    browser: &Browser,
    id: Option<&str>,
) -> Result<Option<(PendingDevice, WaitingDevice)>, PageError> {
    let Some(pending) = PendingDevice::find(app, browser, id).await? else {
        return Ok(None);
    };
    let device = app.confirm_device.find(&pending.user_code).await?;
    Ok(device.map(|device| (pending, device)))
}

/// `/device/done`: the person may turn to the device again.
pub(super) async fn done(
    State(app): State<App>,
    browser: Browser,
    PageQuery(query): PageQuery,
) -> Result<Response, PageError> {
    let named = OUTCOMES.iter().find(|(word, _)| query.get("outcome") == Some(word));
    let Some((_, outcome)) = named else {
        return Ok(see_other(&app.path("/device")));
    };
    let shown = DeviceDonePage {
        page: page(&app, &browser, None),
        outcome: *outcome,
    };
    std::future::ready(html(&app, StatusCode::OK, &shown, &PagePolicy::default())).await
}

/// `/device/qr`: the address of a code as a picture, for devices that can show one and cannot draw it. It is made of the code alone: nothing
/// tells whether a device waits with it.
pub(super) async fn qr(State(app): State<App>, PageQuery(query): PageQuery) -> Result<Response, PageError> {
    let code = query.get("user_code").and_then(UserCode::parse);
    let code = code.ok_or_else(|| PageError::invalid_request("The user_code is not one."))?;
    let address = complete(&format!("{}{VERIFICATION_PATH}", app.policy.issuer), &code);
    let drawn =
        QrCode::with_error_correction_level(&address, EcLevel::M).map_err(|error| PageError::internal(&error))?;
    let picture = drawn
        .render::<svg::Color<'_>>()
        .min_dimensions(QR_PIXELS, QR_PIXELS)
        .build();
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/svg+xml")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        // Opened by itself it is a document: one that runs and loads nothing.
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
        ),
    ];
    std::future::ready(Ok((headers, picture).into_response())).await
}
