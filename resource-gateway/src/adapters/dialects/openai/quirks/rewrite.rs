//! Requests in a vendor's words: places in the text are exchanged, and the rest stays as it came.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;
use http::{HeaderValue, Method};
use memchr::memmem;
use serde::Deserialize;

use super::{super::OpenAiChat, API_VERSION, Place, Quirks, StreamUsage, ThinkingWord};
use crate::{
    adapters::dialects::support,
    domain::{
        call::Call,
        chat::{OPENAI_WORDS, Reasoning},
        fault::PublicError,
        interface::WhenUnsupported,
        json_draft::Draft,
        json_object::{Edit, JsonError, MOST_MEMBERS, elements, quoted},
    },
    ports::codec::{Codec as _, EncodeError, Encoded, Target},
};

const STREAM_OPTIONS: &str = "stream_options";
const MESSAGES: &str = "messages";

/// What a request asks for beside the answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asks {
    pub(super) streams: bool,
    /// What was used, at the end of a stream.
    pub(super) for_usage: bool,
}

const THINKING: &str = "thinking";

/// Whether to think by `thinking` as it is written, where that was said.
fn told(thinking: &str) -> Option<bool> {
    #[derive(Deserialize)]
    struct Told<'a> {
        #[serde(borrow)]
        r#type: Cow<'a, str>,
    }
    let told: Told<'_> = serde_json::from_str(thinking).ok()?;
    match told.r#type.as_ref() {
        "enabled" | "adaptive" => Some(true),
        "disabled" => Some(false),
        _ => None,
    }
}

impl Quirks {
    /// A request in OpenAI's words becomes the vendor's. Nothing is copied as long as there is nothing to exchange.
    pub(super) fn adapt(
        &self,
        encoded: Encoded,
        call: &Call,
        path: &str,
        target: Target<'_>,
    ) -> Result<Encoded, EncodeError> {
        // A form has none of these words.
        let adapted = match encoded.content_type == "application/json" {
            true => {
                let asks = Asks {
                    streams: call.stream,
                    for_usage: call.include_usage,
                };
                return self.adapt_for(encoded, asks, path, target);
            }
            false => encoded,
        };
        Ok(self.placed(adapted, path, target))
    }

    /// The same where the request is no call's own.
    pub(super) fn adapt_for(
        &self,
        mut encoded: Encoded,
        asks: Asks,
        path: &str,
        target: Target<'_>,
    ) -> Result<Encoded, EncodeError> {
        // Other capabilities have words of their own.
        let lacks = match self.refuses_unknown && path == OpenAiChat.path() {
            true => self.lacks(),
            false => Vec::new(),
        };
        if self.concerns(&encoded.body, asks, &lacks) {
            let body = Bytes::from(encoded.body.concat());
            let mut draft = Draft::parse(&body).map_err(refusal)?;
            for name in lacks {
                leave_out(&mut draft, name, target.when_unsupported, &mut encoded.dropped)?;
            }
            self.exchange(&mut draft, asks).map_err(refusal)?;
            let edits = draft.edits();
            encoded.body = spliced(&body, edits);
        }
        Ok(self.placed(encoded, path, target))
    }

    /// Says whether to think in the vendor's word. How much cannot be said there, and what has no word at all is told as dropped.
    pub(super) fn told_to_think(
        &self,
        mut encoded: Encoded,
        reasoning: Option<&Reasoning<'_>>,
    ) -> Result<Encoded, EncodeError> {
        let Some((thinks, reasoning)) = reasoning.and_then(|reasoning| Some((reasoning.thinks()?, reasoning))) else {
            return Ok(encoded);
        };
        let (name, value) = match self.thinking {
            ThinkingWord::Effort => {
                encoded.dropped.extend(support::silence_unsaid(Some(reasoning)));
                return Ok(encoded);
            }
            ThinkingWord::Type => {
                let word = if thinks { "enabled" } else { "disabled" };
                (THINKING, format!("{{\"type\":\"{word}\"}}"))
            }
            ThinkingWord::Switch(name) => (name, thinks.to_string()),
        };
        let body = Bytes::from(encoded.body.concat());
        let mut draft = Draft::parse(&body).map_err(refusal)?;
        draft.remove("reasoning_effort").map_err(refusal)?;
        draft.set(name, value).map_err(refusal)?;
        let edits = draft.edits();
        encoded.body = spliced(&body, edits);
        encoded.dropped.extend(support::degrees(reasoning));
        Ok(encoded)
    }

    fn placed(&self, mut encoded: Encoded, path: &str, target: Target<'_>) -> Encoded {
        let app_id = target.vendor.credential.app_id.as_deref();
        let app_id = app_id.and_then(|id| HeaderValue::from_str(id).ok());
        if let (Some(name), Some(id)) = (self.app_id_header, app_id) {
            encoded = encoded.with(name, id);
        }
        if self.place == Place::Deployment {
            let version = target.option(API_VERSION).unwrap_or_default();
            encoded = encoded.at(Method::POST, deployment(target.model, path, version));
        }
        encoded
    }

    /// Whether one of the words that are exchanged may stand in a request.
    fn concerns(&self, body: &[Bytes], asks: Asks, lacks: &[&str]) -> bool {
        let member = |name: &str| {
            let name = quoted(name);
            body.iter().any(|piece| memmem::find(piece, name.as_bytes()).is_some())
        };
        self.drops_stream_options(asks) && member(STREAM_OPTIONS)
            || self.renames.iter().any(|(ours, _)| member(ours))
            || self.words.iter().any(|(_, ours, _)| member(ours))
            || self.roles.iter().any(|(ours, _)| member(ours))
            || self.kept_back.iter().any(|name| member(name))
            || lacks.iter().any(|name| body.iter().any(|piece| names(piece, name)))
            || matches!(self.thinking, ThinkingWord::Switch(_)) && member(THINKING)
    }

    /// OpenAI's words that the vendor does not know.
    fn lacks(&self) -> Vec<&'static str> {
        let support = &self.support;
        let fields = [
            ("top_k", support.top_k),
            ("logprobs", support.logprobs),
            ("top_logprobs", support.logprobs),
            ("user", support.user),
            ("safety_identifier", support.user),
        ];
        let fields = fields.into_iter().filter(|(_, has)| !has).map(|(name, _)| name);
        let words = OPENAI_WORDS.into_iter().filter(|word| !support.openai.contains(word));
        fields.chain(words).collect()
    }

    fn drops_stream_options(&self, asks: Asks) -> bool {
        match self.stream_usage {
            StreamUsage::Asked => false,
            // A caller that wants the usage wrote so itself, and one that does not stream had no reason to.
            StreamUsage::Unasked => asks.streams && !asks.for_usage,
            StreamUsage::Unknown => true,
        }
    }

    fn exchange(&self, draft: &mut Draft<'_>, asks: Asks) -> Result<(), JsonError> {
        if self.drops_stream_options(asks) {
            draft.remove(STREAM_OPTIONS)?;
        }
        for (ours, theirs) in self.renames {
            if let Some(value) = draft.get(ours)?.map(String::from) {
                draft.remove(ours)?;
                draft.set(theirs, value)?;
            }
        }
        for (member, ours, theirs) in self.words {
            if draft.get(member)?.is_some_and(|value| value == quoted(ours)) {
                draft.set(member, quoted(theirs))?;
            }
        }
        // What an interface's rules say of it holds by whatever name the vendor knows it.
        if let ThinkingWord::Switch(name) = self.thinking
            && let Some(thinks) = draft.get(THINKING)?.as_deref().and_then(told)
        {
            draft.remove(THINKING)?;
            draft.set(name, thinks.to_string())?;
        }
        if !self.roles.is_empty() || !self.kept_back.is_empty() {
            let edits = match draft.get(MESSAGES)? {
                Some(messages) => self.edits_of_messages(&messages)?,
                None => Vec::new(),
            };
            draft.edit(MESSAGES, edits)?;
        }
        Ok(())
    }

    fn edits_of_messages(&self, messages: &str) -> Result<Vec<Edit>, JsonError> {
        let mut edits = Vec::new();
        for message in elements(messages)? {
            let mut draft = Draft::parse(message.as_bytes())?;
            for name in self.kept_back {
                draft.remove(name)?;
            }
            let role = draft.get("role")?.map(String::from);
            let role = role.and_then(|role| self.roles.iter().find(|(ours, _)| role == quoted(ours)));
            if let Some((_, theirs)) = role {
                draft.set("role", quoted(theirs))?;
            }
            let from = place_in(messages, message).start;
            edits.extend(draft.edits().into_iter().map(|edit| edit.shifted(from)));
        }
        Ok(edits)
    }
}

/// Whether a member of that name may stand in a piece of JSON, at any depth. As values some of these words stand in every request.
fn names(piece: &[u8], name: &str) -> bool {
    let name = quoted(name);
    memmem::find_iter(piece, name.as_bytes()).any(|at| {
        let behind = piece.get(at + name.len()..).unwrap_or_default();
        behind
            .iter()
            .find(|byte| !byte.is_ascii_whitespace())
            .is_none_or(|byte| *byte == b':')
    })
}

/// Leaves a member out by the interface's rule, and one that asks for nothing without a word.
fn leave_out(
    draft: &mut Draft<'_>,
    name: &str,
    rule: WhenUnsupported,
    dropped: &mut Vec<String>,
) -> Result<(), EncodeError> {
    let Some(value) = draft.get(name).map_err(refusal)?.map(String::from) else {
        return Ok(());
    };
    draft.remove(name).map_err(refusal)?;
    match (name, value.as_str()) {
        (_, "null") | ("logprobs" | "store", "false") => Ok(()),
        _ => Ok(support::cannot(name, rule, dropped)?),
    }
}

/// Where a part that was borrowed from a text stands in it.
pub(in super::super) fn place_in(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    start..start + part.len()
}

/// A text with edits that do not overlap, in pieces; what stays is not copied.
pub(in super::super) fn spliced(text: &Bytes, mut edits: Vec<Edit>) -> Vec<Bytes> {
    edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
    let mut pieces = Vec::with_capacity(edits.len() * 2 + 1);
    let mut at = 0;
    for edit in edits {
        pieces.push(text.slice(at..edit.range.start));
        at = edit.range.end;
        pieces.push(Bytes::from(edit.with));
    }
    pieces.push(text.slice(at..));
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// The deployment that a model's name is, as part of a path.
fn deployment(model: &str, path: &str, version: &str) -> String {
    let mut place = String::from("/openai/deployments/");
    for byte in model.bytes() {
        match byte {
            // RFC 3986 §2.3: what may stand in a path as it is.
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => place.push(char::from(byte)),
            // Two of them would be the folder above.
            b'.' if model.contains(|c| c != '.') => place.push('.'),
            _ => {
                place.push('%');
                for half in [byte >> 4, byte & 15] {
                    place.extend(char::from_digit(half.into(), 16).map(|digit| digit.to_ascii_uppercase()));
                }
            }
        }
    }
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("api-version", version)
        .finish();
    format!("{place}{path}?{query}")
}

fn refusal(error: JsonError) -> EncodeError {
    let (field, why) = match error {
        JsonError::Malformed(_) => (None, "The body of the request could not be read.".to_owned()),
        JsonError::TooManyMembers => (
            None,
            format!("An object in the body of the request has more than {MOST_MEMBERS} members."),
        ),
        JsonError::Duplicate(name) => {
            let why = format!("The field '{name}' stands in the body twice.");
            (Some(name), why)
        }
        JsonError::Respelt { name, .. } => {
            let why = format!("The field '{name}' stands in the body in another spelling.");
            (Some(name), why)
        }
    };
    EncodeError::Refused(PublicError::invalid(field.as_deref(), "invalid_value", why))
}
