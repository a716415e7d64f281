//! What requests of each capability look like. A capability is an entry of the table; nothing else asks which one it is.

use super::{Form, json_error, missing, words, wrong};
use crate::domain::{
    answer::TranscriptFormat,
    estimate::{TextWeight, tokens_of},
    fault::PublicError,
    interface::{Capability, FieldAction, FieldRule},
    json_draft::Draft,
    json_object::{JsonObject, elements},
    prompt::Prompt,
};

/// A message longer than this is looked at closely before its tokens are estimated: it may hold a picture.
const CLOSE_LOOK_BYTES: usize = 16 * 1024;
/// Some thousand characters and a few options, however they are escaped.
const SHORT_TEXT_BYTES: usize = 1024 * 1024;
/// As many as OpenAI makes at once.
const MAX_IMAGES: u64 = 10;

/// The word of a threshold in a call.
pub(super) const MIN_CONFIDENCE: &str = "min_confidence";
const RESPONSE_FORMAT: &str = "response_format";
/// The other picture of a comparison.
const COMPARE_TO: &str = "compare_to";
/// What names a stored conversation in a call.
pub(super) const CONVERSATION_ID: &str = "conversation_id";

/// The form of a capability's requests.
#[derive(Debug)]
pub struct Shape {
    pub capability: Capability,
    pub body: BodyForm,
    /// Whether answers can be streamed.
    pub streams: bool,
    /// Whether answers have parts with scores, so that a threshold means something.
    pub scored: bool,
    /// Whether requests continue conversations.
    pub converses: bool,
    /// A body over this is too large whatever the operator allows: nothing that is asked for here needs more.
    pub max_body_bytes: usize,
    /// The words for `response_format`, the default first. Empty where it is the vendor's business.
    pub(super) formats: &'static [&'static str],
    /// What of a request in JSON is counted in case its vendor does not.
    pub(super) counts: fn(&JsonObject<'_>, &mut Prompt),
    /// Several names of one field. What is ruled of one of them holds for the others.
    synonyms: &'static [&'static [&'static str]],
}

/// How a request's body is read, and what it cannot do without. The functions check that and weigh it in tokens.
#[derive(Debug)]
pub enum BodyForm {
    Json(fn(&Draft<'_>) -> Result<u64, PublicError>),
    Multipart(fn(&Form) -> Result<u64, PublicError>),
}

const PLAIN: Shape = Shape {
    capability: Capability::Raw,
    body: BodyForm::Json(|_| Ok(0)),
    streams: false,
    scored: false,
    converses: false,
    max_body_bytes: usize::MAX,
    formats: &[],
    counts: words::nothing,
    synonyms: &[],
};

/// Calls that are passed on as they are. Their bodies are JSON where rules want to hold, and anything otherwise.
static RAW: Shape = Shape { streams: true, ..PLAIN };

const PICTURE: Shape = Shape {
    body: BodyForm::Json(check_picture),
    scored: true,
    counts: words::picture,
    ..PLAIN
};

/// Whether, how hard and how long to think are one member with some vendors (Gemini, Ollama, Tencent), and two with others (DashScope,
/// Qianfan). Which of OpenAI's and Anthropic's words such a member stands for depends on its value, so it is a name of either.
const THOUGHT: [&str; 6] = [
    "thinking",
    "enable_thinking",
    "thinking_budget",
    "think",
    "thinkingConfig",
    "reasoning_config",
];
const EFFORT: [&str; 6] = [
    "reasoning_effort",
    "enable_thinking",
    "thinking_budget",
    "think",
    "thinkingConfig",
    "reasoning_config",
];

static SHAPES: [Shape; 10] = [
    Shape {
        capability: Capability::Chat,
        body: BodyForm::Json(check_chat),
        streams: true,
        counts: words::chat,
        converses: true,
        synonyms: &[
            &["max_tokens", "max_completion_tokens", "max_output_tokens"],
            &["tools", "functions"],
            &["tool_choice", "function_call"],
            // Zhipu's name for it comes last.
            &["user", "safety_identifier", "user_id"],
            // Mistral's.
            &["seed", "random_seed"],
            &THOUGHT,
            &EFFORT,
        ],
        ..PLAIN
    },
    Shape {
        capability: Capability::Embeddings,
        body: BodyForm::Json(check_embeddings),
        counts: words::input,
        synonyms: &[&["dimensions", "output_dimension"]],
        ..PLAIN
    },
    Shape {
        capability: Capability::Transcription,
        body: BodyForm::Multipart(check_recording),
        scored: true,
        formats: &TranscriptFormat::WORDS,
        ..PLAIN
    },
    Shape {
        capability: Capability::Speech,
        body: BodyForm::Json(check_speech),
        counts: words::speech,
        max_body_bytes: SHORT_TEXT_BYTES,
        formats: &["mp3", "opus", "aac", "flac", "wav", "pcm"],
        ..PLAIN
    },
    Shape {
        capability: Capability::Image,
        body: BodyForm::Json(check_drawing),
        counts: words::drawing,
        max_body_bytes: SHORT_TEXT_BYTES,
        ..PLAIN
    },
    Shape {
        capability: Capability::Ocr,
        ..PICTURE
    },
    Shape {
        capability: Capability::Labels,
        ..PICTURE
    },
    Shape {
        capability: Capability::Faces,
        body: BodyForm::Json(check_faces),
        ..PICTURE
    },
    Shape {
        capability: Capability::Moderation,
        body: BodyForm::Json(check_moderation),
        counts: words::text_input,
        ..PLAIN
    },
    Shape {
        capability: Capability::Rerank,
        body: BodyForm::Json(check_rerank),
        counts: words::query_and_documents,
        scored: true,
        synonyms: &[&["top_n", "top_k"]],
        ..PLAIN
    },
];

impl Shape {
    /// `None` for capabilities that have no form of their own.
    pub fn of(capability: Capability) -> Option<&'static Self> {
        SHAPES.iter().find(|shape| shape.capability == capability)
    }

    /// What field rules of a capability go by.
    pub fn ruling(capability: Capability) -> &'static Self {
        Self::of(capability).unwrap_or(&RAW)
    }

    /// The other names of a field.
    pub fn synonyms_of(&self, name: &str) -> impl Iterator<Item = &'static str> {
        let groups = self.synonyms.iter().filter(|group| group.contains(&name));
        let mut others: Vec<&'static str> = Vec::new();
        for other in groups.flat_map(|group| group.iter().copied()) {
            if other != name && !others.contains(&other) {
                others.push(other);
            }
        }
        others.into_iter()
    }

    /// Why a rule cannot hold for such requests.
    pub fn refuses(&self, rule: &FieldRule) -> Option<&'static str> {
        let tokens = rule.pointer.tokens();
        let [first, rest @ ..] = tokens else { return None };
        let sets = match &rule.action {
            FieldAction::Forbid => None,
            FieldAction::Fill(value) | FieldAction::Force(value) => Some(value),
        };
        match (first.as_str(), sets) {
            // Nobody but the rule reads the bodies of raw calls.
            _ if self.capability == Capability::Raw => {}
            ("model", _) => return Some("the model is decided by the routes"),
            ("stream", Some(_)) => {
                return Some("the caller decides whether it gets a stream; a rule may only forbid it");
            }
            (CONVERSATION_ID, _) if self.converses => return Some("the interface's conversation decides about it"),
            (MIN_CONFIDENCE, Some(_)) if self.scored => return Some("set the interface's min_confidence instead"),
            _ => {}
        }
        if let Some(at) = tokens.iter().position(|token| token == "-") {
            // RFC 6901 §4: the element behind the last one, which is never there.
            if at + 1 < tokens.len() || !matches!(rule.action, FieldAction::Force(_)) {
                return Some("only a forced value can be appended, and only as the last name");
            }
        }
        if matches!(self.body, BodyForm::Json(_)) {
            return None;
        }
        match (first.as_str(), sets) {
            _ if !rest.is_empty() => Some("a form has no fields within fields"),
            ("file", _) => Some("the file is the caller's"),
            (_, Some(serde_json::Value::Null)) => Some("a form has no null"),
            (name, Some(serde_json::Value::Array(_))) if !name.ends_with("[]") => {
                Some("only a field whose name ends in [] has several values")
            }
            _ => None,
        }
    }
}

fn required<'d>(draft: &'d Draft<'_>, field: &str) -> Result<std::borrow::Cow<'d, str>, PublicError> {
    draft.get(field).map_err(json_error)?.ok_or_else(|| missing(field))
}

/// A string that is not empty.
fn text<'d>(draft: &'d Draft<'_>, field: &str) -> Result<std::borrow::Cow<'d, str>, PublicError> {
    let value = required(draft, field)?;
    if value.len() > 2 && value.starts_with('"') {
        Ok(value)
    } else {
        Err(wrong(field, "must be a string that is not empty"))
    }
}

fn check_chat(draft: &Draft<'_>) -> Result<u64, PublicError> {
    let value = required(draft, "messages")?;
    let messages = elements(&value).map_err(|_| wrong("messages", "must be an array of objects"))?;
    if messages.iter().any(|message| !message.starts_with('{')) {
        return Err(wrong("messages", "must be an array of objects"));
    }
    let mut tokens = messages.iter().map(|message| weigh_message(message)).sum();
    for name in BESIDE_MESSAGES {
        let beside = draft.get(name).map_err(json_error)?;
        let beside = beside.filter(|value| is_seen(name, value));
        tokens += beside.map_or(0, |value| tokens_of(&value));
    }
    Ok(tokens)
}

/// What models may get to see beside the messages, as it is written or nearly so.
pub(super) const BESIDE_MESSAGES: [&str; 3] = ["tools", "functions", RESPONSE_FORMAT];

/// Of formats, models see schemas only.
pub(super) fn is_seen(name: &str, value: &str) -> bool {
    name != RESPONSE_FORMAT || value.contains("\"schema\"")
}

/// Tokens of one message, roughly: of all that it says, to whom and in which member ever.
pub fn weigh_message(message: &str) -> u64 {
    if message.len() <= CLOSE_LOOK_BYTES {
        return tokens_of(message);
    }
    // What nests too deep to be looked at is taken for text.
    serde_json::from_str(message).map_or_else(|_| tokens_of(message), |weight: TextWeight| weight.0.tokens())
}

fn check_embeddings(draft: &Draft<'_>) -> Result<u64, PublicError> {
    const WANTED: &str = "must be a string or an array";
    let value = required(draft, "input")?;
    match value.as_bytes().first() {
        Some(b'"') => Ok(tokens_of(&value)),
        Some(b'[') => {
            let inputs = elements(&value).map_err(|_| wrong("input", WANTED))?;
            let weigh = |one: &&str| match one.as_bytes().first() {
                Some(b'"') => tokens_of(one),
                // Tokens, ready made.
                Some(b'[') => elements(one).map_or(0, |tokens| tokens.len() as u64),
                _ => 1,
            };
            Ok(inputs.iter().map(weigh).sum())
        }
        _ => Err(wrong("input", WANTED)),
    }
}

fn check_recording(form: &Form) -> Result<u64, PublicError> {
    let file = form.get("file").map_err(super::form_error)?;
    let url = form.get("url").map_err(super::form_error)?;
    match (file, url) {
        (Some(_), Some(_)) => return Err(wrong("url", "can only stand in the place of a file")),
        (Some(file), None) if file.file.is_none() => return Err(wrong("file", "must be a file")),
        (None, Some(url))
            if !["https://", "http://"]
                .iter()
                .any(|scheme| url.text().starts_with(scheme)) =>
        {
            return Err(wrong("url", "must be an http or https URL"));
        }
        (None, None) => return Err(missing("file")),
        (Some(_), None) | (None, Some(_)) => {}
    }
    if let Some(other) = form
        .parts()
        .iter()
        .find(|part| part.file.is_some() && &*part.name != "file")
    {
        return Err(wrong(&other.name, "must not be a file"));
    }
    let prompt = form.get("prompt").map_err(super::form_error)?;
    Ok(prompt.map_or(0, |prompt| tokens_of(prompt.text())))
}

fn check_speech(draft: &Draft<'_>) -> Result<u64, PublicError> {
    match draft.get("stream_format").map_err(json_error)?.as_deref() {
        None | Some("null" | "\"audio\"") => {}
        Some(_) => return Err(wrong("stream_format", "can only be audio here")),
    }
    Ok(tokens_of(&text(draft, "input")?))
}

fn check_drawing(draft: &Draft<'_>) -> Result<u64, PublicError> {
    let prompt = text(draft, "prompt")?;
    match draft.get("n").map_err(json_error)?.as_deref() {
        None | Some("null") => {}
        Some(n) if n.parse().is_ok_and(|n: u64| (1..=MAX_IMAGES).contains(&n)) => {}
        Some(_) => return Err(wrong("n", "must be a number from 1 to 10")),
    }
    Ok(tokens_of(&prompt))
}

fn check_picture(draft: &Draft<'_>) -> Result<u64, PublicError> {
    check_source("image", &required(draft, "image")?)
}

/// Faces are looked for in one picture, or compared with those of another one.
fn check_faces(draft: &Draft<'_>) -> Result<u64, PublicError> {
    check_picture(draft)?;
    match draft.get(COMPARE_TO).map_err(json_error)?.as_deref() {
        None => Ok(0),
        Some(other) => check_source(COMPARE_TO, other),
    }
}

/// A picture has exactly one of three members: with two of them the vendor would look at another picture than the one that was
/// checked, or logged.
fn check_source(field: &str, value: &str) -> Result<u64, PublicError> {
    const SOURCES: [&str; 3] = ["base64", "url", "file_id"];
    const WANTED: &str = "must be an object with one of base64, url and file_id";
    let image = JsonObject::parse(value.as_bytes()).map_err(|_| wrong(field, WANTED))?;
    let mut found = Vec::with_capacity(1);
    for source in SOURCES {
        found.extend(
            image
                .get(source)
                .map_err(json_error)?
                .map(|member| (source, member.value)),
        );
    }
    match found.as_slice() {
        [(_, value)] if value.len() > 2 && value.starts_with('"') => Ok(0),
        [(source, _)] => Err(wrong(
            &format!("{field}.{source}"),
            "must be a string that is not empty",
        )),
        _ => Err(wrong(field, WANTED)),
    }
}

fn check_moderation(draft: &Draft<'_>) -> Result<u64, PublicError> {
    let value = required(draft, "input")?;
    if !value.starts_with(['"', '[']) {
        return Err(wrong("input", "must be a string or an array"));
    }
    weigh(&value)
}

fn check_rerank(draft: &Draft<'_>) -> Result<u64, PublicError> {
    const WANTED: &str = "must be an array of documents that is not empty";
    let query = text(draft, "query")?;
    let documents = required(draft, "documents")?;
    if elements(&documents).map_err(|_| wrong("documents", WANTED))?.is_empty() {
        return Err(wrong("documents", WANTED));
    }
    Ok(tokens_of(&query) + weigh(&documents)?)
}

/// Tokens of the texts in a value. Only what nests deeper than anything real cannot be weighed.
fn weigh(value: &str) -> Result<u64, PublicError> {
    let weight: TextWeight = serde_json::from_str(value).map_err(|error| {
        let message = format!("The body of the request could not be read: {error}.");
        PublicError::invalid(None, "invalid_json", message)
    })?;
    Ok(weight.0.tokens())
}
