//! The browser's side of a request: cookies, session contents, CSRF token.

use std::{convert::Infallible, net::IpAddr, time::Duration};

use axum::extract::FromRequestParts;
use axum_extra::extract::CookieJar;
use http::{HeaderMap, header, request::Parts};
use oauth_wire::Form;
use serde::{Deserialize, Serialize};
use service_kit::{RequestContext, listener::PeerAddress};
use subtle::ConstantTimeEq as _;
use tower_sessions::{Expiry, Session as Container};

use super::PageError;
use crate::{
    adapters::http::App,
    application::sign_in::Origin,
    domain::{
        authorization::AuthorizationRequest,
        ids::{ClientId, SessionId},
        session::Session,
    },
};

/// How long the contents of a stranger's browser session are kept: long enough to sign in. Anybody can make one.
pub(crate) const STRANGER_SESSION: Duration = Duration::from_secs(60 * 60);
/// How long the contents are kept after the last change once somebody has signed in.
pub(crate) const BROWSER_SESSION: Duration = Duration::from_secs(24 * 60 * 60);
/// Authorization requests that one browser may have open at once (tabs); the oldest is forgotten.
const MAX_PENDING: usize = 8;
/// A session's `last_seen_at` is written at most this often.
const TOUCH_AFTER: Duration = Duration::from_secs(300);

const SID: &str = "sid";
const CSRF: &str = "csrf";
const PENDING: &str = "pending";
const LOGOUT: &str = "logout";
const FAREWELL: &str = "farewell";
const DEVICE_COOKIE: &str = "hexgate_device";
pub(crate) const SESSION_COOKIE: &str = "hexgate_session";

/// An authorization request that waits for sign-in or consent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) id: String,
    pub(super) request: AuthorizationRequest,
}

/// A relying party's logout request that waits for the person's confirmation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PendingLogout {
    pub(super) id: String,
    pub(super) client: Option<ClientId>,
    pub(super) redirect: Option<String>,
    pub(super) state: Option<String>,
    pub(super) ui_locales: Option<String>,
}

/// What is left to do in a browser whose session has ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Farewell {
    pub(super) id: String,
    /// Addresses at which applications end their own sessions.
    pub(super) frames: Vec<String>,
    pub(super) client: Option<ClientId>,
    /// Where the person goes then.
    pub(super) onwards: Option<String>,
    pub(super) ui_locales: Option<String>,
}

/// A lifetime as the session container counts it.
pub(crate) fn inactivity(kept: Duration) -> Expiry {
    Expiry::OnInactivity(tower_sessions::cookie::time::Duration::seconds(
        i64::try_from(kept.as_secs()).unwrap_or(i64::MAX),
    ))
}

/// One browser. Nothing is read from the store before it is asked for.
pub(crate) struct Browser {
    container: Option<Container>,
    cookies: CookieJar,
    headers: HeaderMap,
    peer: Option<PeerAddress>,
    context: Option<RequestContext>,
    sent_cookie: bool,
    device: Option<String>,
}

impl FromRequestParts<App> for Browser {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let cookies = CookieJar::from_headers(&parts.headers);
        Ok(Self {
            // Absent on addresses outside the session layer, whose pages need language and request id only.
            container: parts.extensions.get::<Container>().cloned(),
            sent_cookie: cookies.get(&app.cookie_name(SESSION_COOKIE)).is_some(),
            device: cookies
                .get(&app.cookie_name(DEVICE_COOKIE))
                .map(|cookie| cookie.value().to_owned()),
            cookies,
            headers: parts.headers.clone(),
            peer: parts.extensions.get::<PeerAddress>().copied(),
            context: parts.extensions.get::<RequestContext>().cloned(),
        })
    }
}

impl Browser {
    pub(crate) fn sent_cookie(&self) -> bool {
        self.sent_cookie
    }

    pub(super) fn accept_language(&self) -> Option<&str> {
        self.headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()
    }

    pub(super) fn request_id(&self) -> String {
        self.context
            .as_ref()
            .map(|context| context.request_id.to_string())
            .unwrap_or_default()
    }

    pub(super) fn origin(&self) -> Origin {
        let user_agent = self
            .headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok());
        Origin {
            user_agent: user_agent.unwrap_or_default().to_owned(),
            address: self.address().map(|address| address.to_string()).unwrap_or_default(),
        }
    }

    pub(super) fn address(&self) -> Option<IpAddr> {
        self.peer.map(|peer| peer.0.ip())
    }

    pub(super) fn device(&self) -> Option<String> {
        self.device.clone()
    }

    /// The cookie that marks this browser as one that has signed in to the account.
    pub(super) fn device_cookie(&self, app: &App, value: String) -> CookieJar {
        let cookie = axum_extra::extract::cookie::Cookie::build((app.cookie_name(DEVICE_COOKIE), value))
            .path(if app.base_path.is_empty() || app.secure {
                "/".to_owned()
            } else {
                app.base_path.clone()
            })
            .http_only(true)
            .secure(app.secure)
            .same_site(axum_extra::extract::cookie::SameSite::Lax)
            .permanent()
            .build();
        self.cookies.clone().add(cookie)
    }

    /// The person's live session in this browser.
    pub(crate) async fn session(&self, app: &App) -> Result<Option<Session>, PageError> {
        if !self.sent_cookie {
            return Ok(None);
        }
        self.session_after_sign_in(app).await
    }

    /// As [`Browser::session`], also in the very request that signed the person in, whose cookie is only on its way.
    pub(super) async fn session_after_sign_in(&self, app: &App) -> Result<Option<Session>, PageError> {
        let Some(sid) = self.get::<SessionId>(SID).await? else {
            return Ok(None);
        };
        let now = app.clock.now();
        let session = app.sessions.find_live_session(&sid, now).await?;
        if let Some(session) = &session
            && now.since(session.last_seen_at) > TOUCH_AFTER
        {
            app.sessions.touch_session(&sid, now).await?;
        }
        Ok(session)
    }

    /// Ties the browser to a session. The cookie gets a new value, so that one planted before the sign-in is worth nothing.
    pub(super) async fn sign_in(&self, app: &App, session: &Session) -> Result<(), PageError> {
        self.container()?
            .cycle_id()
            .await
            .map_err(|error| PageError::container(&error))?;
        self.put(SID, &session.sid).await?;
        self.put(CSRF, app.entropy.secret()).await
    }

    /// Forgets everything about the browser. What is kept after that is kept under a new cookie value: the old one was that of a session.
    pub(super) async fn clear(&self) -> Result<(), PageError> {
        let container = self.container()?;
        container.flush().await.map_err(|error| PageError::container(&error))?;
        container.cycle_id().await.map_err(|error| PageError::container(&error))
    }

    /// The token that every form of this browser must carry; made on first use.
    pub(super) async fn csrf(&self, app: &App) -> Result<String, PageError> {
        if let Some(token) = self.get::<String>(CSRF).await? {
            return Ok(token);
        }
        let token = app.entropy.secret();
        self.put(CSRF, &token).await?;
        Ok(token)
    }

    /// Whether a posted form is one that this browser was given by us.
    pub(super) async fn is_genuine(&self, form: &Form) -> Result<bool, PageError> {
        // Fetch metadata tells a forged cross-site post even when a token leaked.
        let cross_site = self
            .headers
            .get("sec-fetch-site")
            .is_some_and(|value| value == "cross-site");
        let (Some(sent), Some(known)) = (form.get("csrf"), self.get::<String>(CSRF).await?) else {
            return Ok(false);
        };
        Ok(!cross_site && bool::from(sent.as_bytes().ct_eq(known.as_bytes())))
    }

    /// Keeps an authorization request while the person signs in or consents; returns its name.
    pub(super) async fn keep(&self, app: &App, request: AuthorizationRequest) -> Result<String, PageError> {
        let mut all = self.all_pending(app).await?;
        let id = app.entropy.id();
        all.push(Pending {
            id: id.clone(),
            request,
        });
        let surplus = all.len().saturating_sub(MAX_PENDING);
        all.drain(..surplus);
        self.put(PENDING, all).await?;
        Ok(id)
    }

    pub(super) async fn pending(&self, app: &App, id: Option<&str>) -> Result<Option<Pending>, PageError> {
        let Some(id) = id else { return Ok(None) };
        Ok(self
            .all_pending(app)
            .await?
            .into_iter()
            .find(|pending| pending.id == id))
    }

    pub(super) async fn forget(&self, app: &App, id: &str) -> Result<(), PageError> {
        let mut all = self.all_pending(app).await?;
        all.retain(|pending| pending.id != id);
        self.put(PENDING, all).await
    }

    async fn all_pending(&self, app: &App) -> Result<Vec<Pending>, PageError> {
        let mut all: Vec<Pending> = self.get(PENDING).await?.unwrap_or_default();
        let now = app.clock.now();
        all.retain(|pending| now.since(pending.request.received_at) < AuthorizationRequest::LIFETIME);
        Ok(all)
    }

    pub(super) async fn keep_logout(&self, logout: &PendingLogout) -> Result<(), PageError> {
        self.put(LOGOUT, logout).await
    }

    pub(super) async fn pending_logout(&self, id: Option<&str>) -> Result<Option<PendingLogout>, PageError> {
        let kept: Option<PendingLogout> = self.get(LOGOUT).await?;
        Ok(kept.filter(|logout| id == Some(logout.id.as_str())))
    }

    pub(super) async fn keep_farewell(&self, farewell: &Farewell) -> Result<(), PageError> {
        self.put(FAREWELL, farewell).await
    }

    pub(super) async fn farewell(&self, id: Option<&str>) -> Result<Option<Farewell>, PageError> {
        if id.is_none() {
            return Ok(None);
        }
        let kept: Option<Farewell> = self.get(FAREWELL).await?;
        Ok(kept.filter(|farewell| id == Some(farewell.id.as_str())))
    }

    pub(super) async fn forget_logout(&self) -> Result<(), PageError> {
        self.container()?
            .remove_value(LOGOUT)
            .await
            .map(drop)
            .map_err(|error| PageError::container(&error))
    }

    pub(super) async fn get<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>, PageError> {
        self.container()?
            .get(key)
            .await
            .map_err(|error| PageError::container(&error))
    }

    fn container(&self) -> Result<&Container, PageError> {
        self.container
            .as_ref()
            .ok_or_else(|| PageError::container(&"the address has no session layer"))
    }

    pub(super) async fn put(&self, key: &str, value: impl Serialize) -> Result<(), PageError> {
        let container = self.container()?;
        container
            .insert(key, value)
            .await
            .map_err(|error| PageError::container(&error))?;
        let kept = if self.get::<SessionId>(SID).await?.is_some() {
            BROWSER_SESSION
        } else {
            STRANGER_SESSION
        };
        container.set_expiry(Some(inactivity(kept)));
        Ok(())
    }
}
