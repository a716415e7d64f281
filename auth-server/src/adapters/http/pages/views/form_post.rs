use askama::Template;

use super::Page;

/// Sends an authorization response by POST (OAuth 2.0 Form Post Response Mode §2): one form, one button, and a script
/// that presses it. The script carries the nonce of the page's Content-Security-Policy.
#[derive(Debug, Template)]
#[template(path = "pages/form_post.html")]
pub(crate) struct FormPostPage {
    pub(crate) page: Page,
    /// The registered redirect URI, byte for byte.
    pub(crate) action: String,
    /// Names and values of the response, in order.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) redirect_host: String,
    pub(crate) nonce: String,
}
