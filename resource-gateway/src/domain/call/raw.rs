//! Calls that are passed on as they are: the target, the headers that go along, and bytes.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::{Call, Content, Facts, Shape, json_error};
use crate::domain::{
    fault::{ErrorKind, PublicError},
    field_rules::obey,
    ids::RawRouteName,
    interface::{Capability, FieldRule, Interface},
    json_draft::Draft,
    json_object::apply,
    raw::{RawPolicy, RawTarget, find_parameter, is_plain_json},
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A raw call. Before it has its route it has no headers.
#[derive(Debug, Clone)]
pub struct RawCall {
    pub target: RawTarget,
    pub body: Bytes,
    /// What goes to the vendor.
    pub headers: HeaderMap,
    routed: Option<Routed>,
}

#[derive(Debug, Clone)]
struct Routed {
    route: RawRouteName,
    policy: Arc<RawPolicy>,
}

impl RawCall {
    pub(super) fn pieces(&self) -> Vec<Bytes> {
        match self.body.is_empty() {
            true => Vec::new(),
            false => vec![self.body.clone()],
        }
    }

    pub(super) fn content_type(&self) -> &str {
        let value = self.headers.get(header::CONTENT_TYPE);
        value.and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// What of an answer's headers the caller gets.
    pub fn answer_headers(&self, from: &HeaderMap) -> HeaderMap {
        let policy = self.routed.as_ref().map(|routed| &routed.policy);
        policy.map_or_else(HeaderMap::new, |policy| policy.answer_headers(from))
    }

    /// For people: what was asked for, and the body as far as it is text.
    pub(super) fn outline(&self) -> Bytes {
        let line = format!("{} {}\n", self.target.method, self.target.path_and_query());
        match std::str::from_utf8(&self.body) {
            Ok(text) => (line + text).into(),
            Err(_) => format!("{line}[binary {} bytes]", self.body.len()).into(),
        }
    }

    fn holds_json(&self) -> bool {
        let encoded = self.headers.get(header::CONTENT_ENCODING);
        is_plain_json(self.content_type()) && encoded.is_none_or(|encoding| encoding == "identity")
    }
}

impl Call {
    /// A raw call on its way to its interface.
    pub fn passed(target: RawTarget, body: Bytes) -> Self {
        let facts = Facts {
            model: target.interface.to_string(),
            stream: false,
            include_usage: false,
            estimated_input: 0,
            asked_output: 0,
            choices: 1,
            min_confidence: None,
            format: None,
            conversation: None,
        };
        let call = RawCall {
            target,
            body,
            headers: HeaderMap::new(),
            routed: None,
        };
        Self::new(Shape::ruling(Capability::Raw), facts, Content::Raw(Box::new(call)))
    }

    /// Finds the route of a raw call, and picks what goes along of the caller's headers. Other calls stay what they are.
    ///
    /// # Errors
    /// The interface does not offer that, or the request is none that can be passed on.
    pub fn routed(mut self, interface: &Interface, sent: &HeaderMap) -> Result<Self, PublicError> {
        let Content::Raw(call) = &mut self.content else {
            return Ok(self);
        };
        let policy = interface.policy.raw.as_ref();
        let found = policy.and_then(|policy| Some((policy.find(&call.target.method, &call.target.path)?, policy)));
        let (route, policy) = found.ok_or_else(|| not_offered(&call.target))?;
        // RFC 9110 §9.3.1: nobody agrees on what a body of a GET means, or where it ends.
        if call.target.method == Method::GET && !call.body.is_empty() {
            let message = "A GET that is passed on has no body.";
            return Err(PublicError::invalid(None, "unexpected_body", message));
        }
        let mut headers = policy.request_headers(sent);
        for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING] {
            once(&headers, &name)?;
        }
        if !headers.contains_key(header::CONTENT_TYPE) {
            // RFC 9110 §8.3; where rules read the body, it is taken for what they read.
            let ruled = interface.field_rules().next().is_some();
            let otherwise = match ruled {
                true => JSON,
                false => HeaderValue::from_static("application/octet-stream"),
            };
            headers.insert(header::CONTENT_TYPE, otherwise);
        }
        call.headers = headers;
        call.routed = Some(Routed {
            route: route.name.clone(),
            policy: Arc::clone(policy),
        });
        Ok(self)
    }

    /// The raw call, if it is one.
    pub fn as_raw(&self) -> Option<&RawCall> {
        match &self.content {
            Content::Raw(call) => Some(call),
            Content::Json(_) | Content::Form(_) => None,
        }
    }

    /// The route of a raw call, by which prices know it.
    pub fn raw_route(&self) -> Option<&RawRouteName> {
        let routed = self.as_raw()?.routed.as_ref();
        routed.map(|routed| &routed.route)
    }

    /// Whether a vendor may be asked again after it may have taken the call. Answers of models can be thrown away; what a raw call
    /// does is not known.
    pub fn is_repeatable(&self) -> bool {
        self.as_raw().is_none_or(|call| call.target.is_idempotent())
    }

    /// Applies field rules to a raw call: its body must be what they can read, and its query must not say what the body may not.
    pub(super) fn ruled_raw<'r>(mut self, rules: impl Iterator<Item = &'r FieldRule>) -> Result<Self, PublicError> {
        let Content::Raw(call) = &mut self.content else {
            return Ok(self);
        };
        let rules: Vec<_> = rules.collect();
        let query = call.target.query.as_deref().unwrap_or_default();
        for rule in &rules {
            let field = rule.pointer.tokens().first().map(String::as_str).unwrap_or_default();
            // Many servers take a parameter for the field of that name.
            if let Some(parameter) = find_parameter(query, field) {
                let message = format!(
                    "The parameter '{parameter}' is not permitted here: the interface has a rule about that field."
                );
                return Err(PublicError::invalid(Some(&parameter), "unsupported_parameter", message));
            }
        }
        let bodyless = matches!(call.target.method, Method::GET | Method::DELETE);
        if bodyless && call.body.is_empty() {
            return Ok(self);
        }
        if !call.holds_json() {
            let message =
                "This interface has rules about fields, so the body must be application/json in UTF-8, not encoded.";
            return Err(PublicError::new(
                415,
                ErrorKind::InvalidRequest,
                "unsupported_media_type",
                message,
            ));
        }
        let mut draft = Draft::parse(&call.body).map_err(json_error)?;
        for rule in rules {
            obey(&mut draft, self.shape, rule, &mut self.forced)?;
        }
        if !draft.is_untouched() {
            let shaped = apply(draft.object().text(), draft.edits());
            call.body = shaped.into();
        }
        Ok(self)
    }
}

fn once(headers: &HeaderMap, name: &HeaderName) -> Result<(), PublicError> {
    let mut values = headers.get_all(name).iter();
    if values.nth(1).is_some() {
        let message = format!("The header {name} stands in the request more than once.");
        return Err(PublicError::invalid(Some(name.as_str()), "invalid_header", message));
    }
    Ok(())
}

fn not_offered(target: &RawTarget) -> PublicError {
    let path: String = target.path.chars().take(200).collect();
    let message = format!(
        "The interface '{}' does not offer {} {path}.",
        target.interface, target.method
    );
    PublicError::new(404, ErrorKind::InvalidRequest, "route_not_offered", message)
}
