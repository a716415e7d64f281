use askama::Template;

use super::{
    Page, Person,
    parts::{name, web_only},
};

/// `/logout`: asks before a session ends (OpenID Connect RP-Initiated Logout §2). Posts `action` = `logout` or `cancel`.
#[derive(Debug, Template)]
#[template(path = "pages/logout.html")]
pub(crate) struct LogoutPage {
    pub(crate) page: Page,
    pub(crate) user: Option<Person>,
    /// The name of the application that asked, when it is known for certain.
    pub(crate) app_name: Option<String>,
    pub(crate) request: Option<String>,
    pub(crate) csrf: String,
}

/// `/logged-out`: the session is over.
#[derive(Debug, Template)]
#[template(path = "pages/logged_out.html")]
pub(crate) struct LoggedOutPage {
    pub(crate) page: Page,
    pub(crate) back: Option<BackLink>,
    /// Where applications end their own sessions (OpenID Connect Front-Channel Logout §3).
    pub(crate) frames: Vec<String>,
    /// Takes the place of `back`.
    pub(crate) onwards: Option<Onwards>,
}

/// Where the person goes once the frames are loaded: by itself with scripts, by a link without.
#[derive(Debug, Clone)]
pub(crate) struct Onwards {
    pub(crate) app_name: String,
    pub(crate) href: String,
    pub(crate) nonce: String,
}

impl Onwards {
    /// The address is one that the application registered, perhaps with a private scheme, and perhaps with a `state` added.
    pub(crate) fn new(app_name: &str, href: String, nonce: String) -> Self {
        Self {
            app_name: name(app_name),
            href,
            nonce,
        }
    }
}

/// A way back to an application. The address must be one that the application registered.
#[derive(Debug, Clone)]
pub(crate) struct BackLink {
    pub(crate) app_name: String,
    pub(crate) href: String,
}

impl BackLink {
    /// `None` unless the address is one of the web.
    pub(crate) fn new(app_name: &str, uri: &str) -> Option<Self> {
        web_only(Some(uri)).map(|href| Self {
            app_name: name(app_name),
            href,
        })
    }
}
