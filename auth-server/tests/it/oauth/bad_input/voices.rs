//! How endpoints say that something is wrong. Each check is an assertion of the house, caught, so that one failing cell does not hide
//! the others.

#![expect(clippy::panic, reason = "a check of a cell fails as tests do")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

use crate::app::{Reply, is_elsewhere};

/// In which form an endpoint answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::oauth) enum Voice {
    /// RFC 6749 §5.2.
    Json,
    /// RFC 6750 §3.
    Bearer,
    /// RFC 6749 §4.1.2.1: a redirect, or a page while nobody knows where to.
    Authorize,
    /// A page.
    Page,
}

/// What is to come of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::oauth) enum Expected {
    Accepted,
    /// One of these errors.
    Refused(&'static [&'static str]),
    /// One of these errors, on a page rather than by redirect.
    OnPage(&'static [&'static str]),
    /// One of these errors, or none: it depends on more than the value.
    Either(&'static [&'static str]),
}

/// Tells why the check does not hold.
pub(super) fn caught(check: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(check)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_else(|| "a panic without words".into())
    })
}

impl Voice {
    /// Whether the reply is the expected one.
    pub(in crate::oauth) fn judge(self, reply: &Reply, expected: &Expected, knows_state: bool) -> Result<(), String> {
        if reply.status >= 500 {
            return Err(format!("{}: {}", reply.status, reply.text()));
        }
        caught(|| match (expected, self.error(reply)) {
            (Expected::Accepted | Expected::Either(_), None) => {}
            (Expected::Accepted, Some(code)) => panic!("refused with {code}: {}", summary(reply)),
            (Expected::Refused(_) | Expected::OnPage(_), None) => panic!("accepted: {}", summary(reply)),
            (Expected::Refused(codes) | Expected::OnPage(codes) | Expected::Either(codes), Some(code)) => {
                assert!(
                    codes.contains(&code.as_str()),
                    "refused with {code}: {}",
                    summary(reply)
                );
                self.check_form(reply, &code, matches!(expected, Expected::OnPage(_)), knows_state);
            }
        })
    }

    /// The error that the reply tells, if it tells one.
    fn error(self, reply: &Reply) -> Option<String> {
        match self {
            Self::Json | Self::Bearer => {
                let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
                match body["error"].as_str() {
                    Some(code) => Some(code.to_owned()),
                    None if reply.status < 400 => None,
                    // RFC 6750 §3.1: who shows no token is told no error.
                    None => Some("none".to_owned()),
                }
            }
            Self::Authorize | Self::Page => {
                let by_redirect = reply.header("location").and_then(|location| {
                    let (_, query) = location.split_once('?')?;
                    let mut pairs = form_urlencoded::parse(query.as_bytes());
                    pairs
                        .find(|(name, _)| name == "error")
                        .map(|(_, code)| code.to_string())
                });
                let on_page = || {
                    let text = reply.text();
                    let (_, rest) = text.split_once("<code class=\"error-code\">")?;
                    rest.split("</code>").next().map(str::to_owned)
                };
                by_redirect.or_else(on_page)
            }
        }
    }

    fn check_form(self, reply: &Reply, code: &str, on_page: bool, knows_state: bool) {
        let reply = reply.clone();
        match self {
            Self::Json => {
                let status = match code {
                    "invalid_client" => 401,
                    _ if reply.status == 413 => 413,
                    _ => 400,
                };
                reply.expect_oauth_error(status, code);
            }
            Self::Bearer => check_bearer(reply, code),
            Self::Authorize if on_page => drop(reply.expect_error_page(400, code)),
            Self::Authorize if knows_state => drop(reply.expect_error_answer(code)),
            Self::Authorize => {
                let answer = reply.expect_answer();
                assert!(!answer.params.contains_key("code"), "{answer:?}");
            }
            Self::Page => drop(reply.expect_error_page(400, code)),
        }
    }
}

fn check_bearer(reply: Reply, code: &str) {
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    match code {
        "none" => {
            let challenge = reply.clone().expect_status(401);
            assert!(!challenge.header("www-authenticate").unwrap().contains("error"));
        }
        "invalid_request" if reply.status == 413 => {}
        "invalid_request" => drop(reply.expect_bearer_error(400, code)),
        _ => {
            let challenge = reply.expect_status(401).header("www-authenticate").unwrap().to_owned();
            // RFC 9449 §7.1: in the scheme that was tried.
            assert!(
                challenge.starts_with("Bearer ") || challenge.starts_with("DPoP "),
                "{challenge}"
            );
            assert!(challenge.contains(&format!("error=\"{code}\"")), "{challenge}");
        }
    }
}

/// What is always true of an answer, whatever was asked.
pub(in crate::oauth) fn is_sound(reply: &Reply) -> Result<(), String> {
    caught(|| {
        assert!(reply.headers.get_all("content-type").iter().count() <= 1);
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{}", summary(reply));
        if let Some(location) = reply.header("location") {
            let visible = |b: u8| (0x21..=0x7e).contains(&b);
            assert!(location.bytes().all(visible), "{location}");
        }
        let text = reply.text();
        assert!(
            !text.contains("<script>alert"),
            "mark-up comes back: {}",
            summary(reply)
        );
        assert!(!text.contains("panicked"), "{}", summary(reply));
    })
}

/// The state comes back as it was sent, in whatever the endpoint answers.
pub(super) fn echoes(reply: &Reply, state: Option<&str>, issuer: &str) -> Result<(), String> {
    let Some(location) = reply
        .header("location")
        .filter(|location| is_elsewhere(location, issuer))
    else {
        return Ok(());
    };
    caught(|| {
        let (_, query) = location.split_once('?').unwrap_or_default();
        let states: Vec<_> = form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| name == "state")
            .map(|(_, value)| value.into_owned())
            .collect();
        assert_eq!(states, Vec::from_iter(state), "{location}");
    })
}

fn summary(reply: &Reply) -> String {
    let text = String::from_utf8_lossy(&reply.body);
    let shown: String = text.chars().take(160).collect();
    let location = reply.header("location").unwrap_or_default();
    let location: String = location.chars().take(200).collect();
    format!("{} {location} {}", reply.status, shown.replace('\n', " "))
}
