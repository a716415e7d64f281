//! What each page shows, one plain struct per page.
//!
//! A handler fills a struct with display-ready values and renders it by [`askama::Template::render`]. The templates under
//! `templates/pages` escape every value; nothing here is marked safe.
//!
//! Forms post back to the address of their own page, always with the hidden field `csrf`, with `request` where the page
//! belongs to an authorization request, and with `action` naming the button.

mod account;
mod approve;
mod consent;
mod details;
mod device;
mod error;
mod form_post;
mod home;
mod login;
mod logout;
mod parts;
mod words;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use account::{AccountPage, AskingApp, ConnectedApp, Contact, Flash, Profile, SessionRow};
pub(crate) use approve::{ApproveDonePage, ApproveOutcome, ApprovePage};
pub(crate) use consent::ConsentPage;
pub(crate) use details::{CallLine, read_end};
pub(crate) use device::{DeviceConsentPage, DeviceDonePage, DeviceOutcome, DevicePage, DeviceProblem};
pub(crate) use error::{ErrorKind, ErrorPage};
pub(crate) use form_post::FormPostPage;
pub(crate) use home::HomePage;
pub(crate) use login::{LoginPage, LoginProblem, LoginPurpose};
pub(crate) use logout::{BackLink, LoggedOutPage, LogoutPage, Onwards};
pub(crate) use parts::{App, LetterPicture, Person, ScopeLine};
pub(crate) use words::{Device, Moment};

use super::{
    assets,
    texts::{Catalogue, Lang, Texts},
};

/// What all pages share.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) lang: Lang,
    pub(crate) t: Arc<Texts>,
    /// The path of the issuer without a trailing slash, in front of every link; empty for most.
    pub(crate) base: String,
}

impl Page {
    pub(crate) fn new(catalogue: &Catalogue, lang: Lang, base: impl Into<String>) -> Self {
        Self {
            lang,
            t: catalogue.texts(lang),
            base: base.into(),
        }
    }

    fn css(&self) -> String {
        format!("{}{}", self.base, assets::css_href())
    }

    fn asset(&self, name: &str) -> String {
        format!("{}{}", self.base, assets::href(name))
    }
}
