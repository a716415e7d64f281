//! What comes back, and what a test expects of it.

use std::collections::BTreeMap;

use axum::{body::Bytes, response::Response};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::Value;

use super::{Page, STATE, world::is_elsewhere};

/// A response, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    asked: String,
    issuer: String,
}

/// A successful answer of the token endpoint.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Tokens {
    pub(crate) access_token: String,
    pub(crate) token_type: String,
    pub(crate) expires_in: u64,
    #[serde(default)]
    pub(crate) refresh_token: String,
    #[serde(default)]
    pub(crate) id_token: String,
    pub(crate) scope: Option<String>,
}

/// An authorization response that has left for the application.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Address without the parameters that were added.
    pub(crate) uri: String,
    pub(crate) params: BTreeMap<String, String>,
}

impl Reply {
    pub(super) async fn read(response: Response, asked: String, issuer: &str) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
            asked,
            issuer: issuer.to_owned(),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn header(&self, name: impl AsRef<str>) -> Option<&str> {
        self.headers.get(name.as_ref()).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn cookies(&self) -> Vec<&str> {
        self.headers
            .get_all(header::SET_COOKIE)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect()
    }

    #[track_caller]
    pub(crate) fn expect_status(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "{}: {:?} {}",
            self.asked,
            self.headers,
            String::from_utf8_lossy(&self.body)
        );
        self
    }

    #[track_caller]
    pub(crate) fn expect_json(self, status: u16) -> Value {
        let reply = self.expect_status(status);
        assert_eq!(
            reply.header("content-type"),
            Some("application/json"),
            "{}",
            reply.asked
        );
        serde_json::from_slice(&reply.body).unwrap()
    }

    /// RFC 6749 §5.1: JSON, numbers as numbers, kept by nobody.
    #[track_caller]
    pub(crate) fn expect_tokens(self) -> Tokens {
        assert_eq!(self.status, 200, "{}: {}", self.asked, self.text());
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(self.header("pragma"), Some("no-cache"));
        let tokens: Tokens = serde_json::from_value(self.expect_json(200)).unwrap();
        assert_eq!(tokens.token_type, "Bearer");
        tokens
    }

    /// RFC 6749 §5.2: JSON with two members, kept by nobody, the description in the legal characters; returns the description.
    #[track_caller]
    pub(crate) fn expect_oauth_error(self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.text());
        assert_eq!(self.header("cache-control"), Some("no-store"), "{}", self.asked);
        let challenge = self.header("www-authenticate").map(str::to_owned);
        let asked = self.asked.clone();
        let body = self.expect_json(status);
        assert_eq!(body["error"], code, "{asked}: {body}");
        let members: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(members, ["error", "error_description"]);
        let description = body["error_description"].as_str().unwrap();
        assert_legal(description);
        if status == 401 {
            assert!(challenge.unwrap().starts_with("Basic realm="), "{asked}");
        } else {
            assert_eq!(challenge, None, "{asked}");
        }
        description.to_owned()
    }

    /// RFC 6750 §3; returns the challenge.
    #[track_caller]
    pub(crate) fn expect_bearer_error(self, status: u16, code: &str) -> String {
        let reply = self.expect_status(status);
        let challenge = reply.header("www-authenticate").unwrap().to_owned();
        assert!(
            challenge.starts_with("Bearer ") && challenge.contains(&format!("error=\"{code}\"")),
            "{challenge}"
        );
        challenge
    }

    /// An error page of OIDC.md section 2: HTML, no redirect, one shape; returns its sentence.
    #[track_caller]
    pub(crate) fn expect_error_page(self, status: u16, code: &str) -> String {
        let page = self.expect_html(status);
        let facts = page.between("<div id=\"oauth-error\"", "</div>");
        let shown = facts
            .split("<code class=\"error-code\">")
            .nth(1)
            .unwrap()
            .split("</code>")
            .next()
            .unwrap();
        assert_eq!(shown, code, "{facts}");
        let sentence = facts.split("<bdi>").nth(1).unwrap().split("</bdi>").next().unwrap();
        super::browser::unescape(sentence)
    }

    /// A page with every header that pages must have.
    #[track_caller]
    pub(crate) fn expect_html(self, status: u16) -> Page {
        let reply = self.expect_status(status);
        assert_eq!(
            reply.header("content-type"),
            Some("text/html; charset=utf-8"),
            "{}",
            reply.asked
        );
        assert_eq!(reply.header("location"), None, "{}", reply.asked);
        assert_eq!(reply.header("refresh"), None, "{}", reply.asked);
        let csp = reply.header("content-security-policy").unwrap();
        for part in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ] {
            assert!(csp.contains(part), "{}: {csp}", reply.asked);
        }
        assert!(!csp.contains("unsafe"), "{csp}");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("referrer-policy", "same-origin"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{}", reply.asked);
        }
        assert!(reply.header("access-control-allow-origin").is_none(), "{}", reply.asked);
        Page::new(&reply)
    }

    /// A page that holds an element with that id or class (as it stands in the template).
    #[track_caller]
    pub(crate) fn expect_page(self, mark: &str) -> Page {
        let page = self.expect_html(200);
        assert!(page.has(mark), "no {mark:?} in {}", page.text);
        page
    }

    /// A redirect; never 307, which would repeat a posted password (RFC 9700 §4.12).
    #[track_caller]
    pub(crate) fn expect_redirect(self) -> String {
        let reply = self.expect_status(303);
        reply.header("location").unwrap().to_owned()
    }

    /// A redirect to one of the provider's own addresses.
    #[track_caller]
    pub(crate) fn expect_redirect_to(self, path: &str) {
        let location = self.expect_redirect();
        assert_eq!(location.split('?').next().unwrap(), path, "{location}");
    }

    /// A redirect to an application, with `iss` (RFC 9207) and no parameter twice.
    #[track_caller]
    pub(crate) fn expect_answer(self) -> Answer {
        let issuer = self.issuer.clone();
        let location = self.expect_redirect();
        assert!(is_elsewhere(&location, &issuer), "{location}");
        let answer = Answer::from_location(&location);
        assert_eq!(answer.params.get("iss"), Some(&issuer), "{location}");
        answer
    }

    /// A redirect with a code and the usual state; returns the code.
    #[track_caller]
    pub(crate) fn expect_code(self) -> String {
        let answer = self.expect_answer();
        assert_eq!(
            answer.params.get("state").map(String::as_str),
            Some(STATE),
            "{answer:?}"
        );
        answer
            .params
            .get("code")
            .unwrap_or_else(|| panic!("{answer:?}"))
            .clone()
    }

    /// A redirect with an error, state and iss and nothing else (RFC 6749 §4.1.2.1).
    #[track_caller]
    pub(crate) fn expect_error_answer(self, code: &str) -> Answer {
        let answer = self.expect_answer();
        assert_eq!(answer.params.get("error").map(String::as_str), Some(code), "{answer:?}");
        assert_eq!(
            answer.params.get("state").map(String::as_str),
            Some(STATE),
            "{answer:?}"
        );
        assert_legal(&answer.params["error_description"]);
        let names: Vec<&str> = answer.params.keys().map(String::as_str).collect();
        let known = ["error", "error_description", "iss", "state", "tenant"];
        assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
        answer
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn from_location(location: &str) -> Self {
        assert!(!location.contains('#'), "{location}");
        let (uri, query) = location.split_once('?').unwrap();
        let mut params = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            assert!(
                params.insert(name.to_string(), value.to_string()).is_none(),
                "{name} twice: {location}"
            );
        }
        Self {
            uri: uri.to_owned(),
            params,
        }
    }
}

#[track_caller]
fn assert_legal(description: &str) {
    let legal = |b: u8| matches!(b, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    assert!(
        !description.is_empty() && description.bytes().all(legal),
        "{description:?}"
    );
}
