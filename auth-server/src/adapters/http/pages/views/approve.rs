use askama::Template;

use super::{App, CallLine, Moment, Page, Person, ScopeLine};

/// `/approve`: which application asks for what, from elsewhere. Posts `action` = `allow`, `deny` or `switch` (sign in as someone else).
#[derive(Debug, Template)]
#[template(path = "pages/approve.html")]
pub(crate) struct ApprovePage {
    pub(crate) page: Page,
    pub(crate) app: App,
    pub(crate) user: Person,
    /// To be compared with what is shown elsewhere.
    pub(crate) message: Option<String>,
    pub(crate) requested: Moment,
    pub(crate) scopes: Vec<ScopeLine>,
    /// What AI calls are asked for in detail (RFC 9396).
    pub(crate) calls: Vec<CallLine>,
    /// What was left of them the last time was more than was asked for, or nothing.
    pub(crate) choice_is_wrong: bool,
    pub(crate) request: Option<String>,
    pub(crate) csrf: String,
}

/// `/approve/done`: what was decided.
#[derive(Debug, Template)]
#[template(path = "pages/approve_done.html")]
pub(crate) struct ApproveDonePage {
    pub(crate) page: Page,
    pub(crate) outcome: ApproveOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ApproveOutcome {
    Allowed,
    Denied,
}
