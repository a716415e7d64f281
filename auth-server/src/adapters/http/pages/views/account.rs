use askama::Template;

use super::{super::texts::Text, App, Device, Moment, Page, Person, ScopeLine};

/// `/account`: profile, sessions, connected applications. Posts to `/account` with `action` =
/// `end-session` (and `session`), `end-others`, `end-all`, or `remove-app` (and `client_id`).
#[derive(Debug, Template)]
#[template(path = "pages/account.html")]
pub(crate) struct AccountPage {
    pub(crate) page: Page,
    pub(crate) user: Person,
    pub(crate) profile: Profile,
    /// What waits for the person's answer, the latest first.
    pub(crate) asking: Vec<AskingApp>,
    /// The current one first.
    pub(crate) sessions: Vec<SessionRow>,
    pub(crate) apps: Vec<ConnectedApp>,
    pub(crate) flash: Option<Flash>,
    pub(crate) csrf: String,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Profile {
    pub(crate) email: Option<Contact>,
    pub(crate) phone: Option<Contact>,
}

#[derive(Debug, Clone)]
pub(crate) struct Contact {
    pub(crate) value: String,
    pub(crate) verified: bool,
}

/// An application that asks from elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct AskingApp {
    pub(crate) app: App,
    pub(crate) message: Option<String>,
    pub(crate) requested: Moment,
    /// For the address of the page that tells more.
    pub(crate) request: String,
}

#[derive(Debug, Clone)]
pub(crate) struct SessionRow {
    /// What the form sends back; not the secret of the session's cookie.
    pub(crate) id: String,
    pub(crate) device: Device,
    pub(crate) address: Option<String>,
    pub(crate) signed_in: Moment,
    pub(crate) last_seen: Moment,
    pub(crate) current: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct ConnectedApp {
    pub(crate) client_id: String,
    pub(crate) app: App,
    pub(crate) scopes: Vec<ScopeLine>,
    pub(crate) granted: Moment,
}

/// What the action before this page did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flash {
    SessionEnded,
    OthersEnded,
    AppRemoved,
    RequestGone,
    FormExpired,
}

impl AccountPage {
    fn has_other_sessions(&self) -> bool {
        self.sessions.iter().any(|session| !session.current)
    }

    fn nothing_changed(&self) -> bool {
        matches!(self.flash, Some(Flash::FormExpired | Flash::RequestGone))
    }

    fn flash_text(&self) -> Option<&Text> {
        let t = &self.page.t.account.flash;
        Some(match self.flash? {
            Flash::SessionEnded => &t.session_ended,
            Flash::OthersEnded => &t.others_ended,
            Flash::AppRemoved => &t.app_removed,
            Flash::RequestGone => &t.request_gone,
            Flash::FormExpired => &t.expired,
        })
    }
}
