//! Answering pages: security headers, redirects.

use std::collections::BTreeSet;

use askama::Template;
use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use url::Url;

use super::{PageError, views::Page};
use crate::adapters::http::App;

/// What one page may do beyond the strict default.
#[derive(Debug, Default)]
pub(super) struct PagePolicy {
    /// Sources that a form may lead to: browsers apply `form-action` to the redirects that follow a form, too.
    pub(super) form_action: FormTargets,
    /// Nonce of the one inline script.
    pub(super) script_nonce: Option<String>,
    /// Origins that may be framed.
    pub(super) frames: BTreeSet<String>,
}

/// Where forms of a page may lead.
#[derive(Debug, Default)]
pub(super) enum FormTargets {
    #[default]
    Ourselves,
    /// Ourselves, and then wherever a registered redirect URI leads, whose application may redirect onwards.
    Application(String),
}

impl PagePolicy {
    /// Lets the page's forms end at an application.
    pub(super) fn leading_to(self, redirect_uri: &str) -> Self {
        Self {
            form_action: FormTargets::Application(redirect_uri.to_owned()),
            ..self
        }
    }

    /// Lets the page load frames from the origins of these addresses, and from nowhere else.
    pub(super) fn framing(self, addresses: &[String]) -> Self {
        Self {
            frames: addresses.iter().filter_map(|address| origin(address)).collect(),
            ..self
        }
    }

    fn to_header(&self) -> String {
        let mut policy = String::from(
            "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; img-src 'self'",
        );
        policy.push_str("; form-action 'self'");
        if let FormTargets::Application(uri) = &self.form_action {
            policy.push_str(" https:");
            if let Some(source) = source(uri) {
                policy.push(' ');
                policy.push_str(&source);
            }
        }
        if !self.frames.is_empty() {
            policy.push_str("; frame-src");
            for frame in &self.frames {
                policy.push(' ');
                policy.push_str(frame);
            }
        }
        if let Some(nonce) = &self.script_nonce {
            policy.push_str("; script-src 'nonce-");
            policy.push_str(nonce);
            policy.push('\'');
        }
        policy
    }
}

/// Scheme, host and port of a web address.
fn origin(uri: &str) -> Option<String> {
    let origin = Url::parse(uri).ok()?.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}

/// A redirect URI as a Content-Security-Policy source: its origin, or its scheme when that is a private one.
fn source(uri: &str) -> Option<String> {
    origin(uri).or_else(|| Url::parse(uri).ok().map(|url| format!("{}:", url.scheme())))
}

/// Renders a page with its security headers.
pub(super) fn html(
    app: &App,
    status: StatusCode,
    page: &impl Template,
    policy: &PagePolicy,
) -> Result<Response, PageError> {
    let body = page.render().map_err(|error| PageError::internal(&error))?;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    let csp = HeaderValue::from_str(&policy.to_header()).map_err(|error| PageError::internal(&error))?;
    headers.insert(header::CONTENT_SECURITY_POLICY, csp);
    harden(headers, app.secure);
    Ok(response)
}

fn harden(headers: &mut HeaderMap, secure: bool) {
    let mut set = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    set(header::CACHE_CONTROL, "no-store");
    // For browsers that do not know frame-ancestors (RFC 9700 §4.16).
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // Addresses of ours may hold request ids; other sites learn at most the origin.
    set(header::REFERRER_POLICY, "same-origin");
    set(
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=()",
    );
    if secure {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
}

/// 303: the browser follows with GET and never repeats a posted password (RFC 9700 §4.12).
pub(crate) fn see_other(location: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(header::LOCATION, location);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
        .headers_mut()
        .insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// What every page needs: language and base path.
pub(super) fn page(app: &App, browser: &super::Browser, ui_locales: Option<&str>) -> Page {
    let lang = super::texts::Lang::negotiate(ui_locales, browser.accept_language());
    Page::new(&app.catalogue, lang, app.base_path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_by_itself_leads_nowhere_else() {
        let policy = PagePolicy::default().to_header();
        assert!(
            policy.contains("form-action 'self'") && !policy.contains("https:"),
            "{policy}"
        );
        assert!(!policy.contains("script-src"), "{policy}");
    }

    #[test]
    fn frames_are_of_their_own_origins_and_of_no_other() {
        let frames = [
            "https://a.example/out?iss=x&sid=y",
            "https://a.example/2",
            "http://127.0.0.1:81/",
        ];
        let policy = PagePolicy::default().framing(&frames.map(str::to_owned)).to_header();
        assert!(
            policy.contains("; frame-src http://127.0.0.1:81 https://a.example") && !policy.contains("out"),
            "{policy}"
        );
        assert!(!PagePolicy::default().to_header().contains("frame-src"));
    }

    #[test]
    fn a_page_on_the_way_to_an_application_may_lead_there() {
        let policy = |uri: &str| PagePolicy::default().leading_to(uri).to_header();
        assert!(policy("http://127.0.0.1:8080/cb").contains("form-action 'self' https: http://127.0.0.1:8080"));
        assert!(policy("com.example.app:/cb").contains("form-action 'self' https: com.example.app:"));
    }
}
