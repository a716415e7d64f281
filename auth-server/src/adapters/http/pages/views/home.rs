use askama::Template;

use super::{Page, Person};

/// `/`: what this address is.
#[derive(Debug, Template)]
#[template(path = "pages/home.html")]
pub(crate) struct HomePage {
    pub(crate) page: Page,
    pub(crate) issuer: String,
    pub(crate) user: Option<Person>,
}
