use askama::Template;

use super::{App, CallLine, Page, Person, ScopeLine};

/// `/consent`: what an application may do. Posts `action` = `allow`, `deny` or `switch` (sign in as someone else).
#[derive(Debug, Template)]
#[template(path = "pages/consent.html")]
pub(crate) struct ConsentPage {
    pub(crate) page: Page,
    pub(crate) app: App,
    pub(crate) user: Person,
    /// In the order in which they shall be read; those asked for the first time by [`ScopeLine::marked_new`].
    pub(crate) scopes: Vec<ScopeLine>,
    /// What is asked for in detail, to be narrowed.
    pub(crate) calls: Vec<CallLine>,
    /// The form came back with a choice that is not part of what was asked for.
    pub(crate) choice_is_wrong: bool,
    /// Host (and port) of the redirect URI, or its scheme when it has no host.
    pub(crate) redirect_host: String,
    /// The URL that alone says who the application is.
    pub(crate) identified_by: Option<String>,
    /// Any program on the person's device could pose as the application.
    pub(crate) unproven: bool,
    pub(crate) request: Option<String>,
    pub(crate) csrf: String,
}

impl ConsentPage {
    /// "New" says something only beside what is not new.
    fn tells_new(&self) -> bool {
        self.scopes.iter().any(|line| !line.new)
    }
}
