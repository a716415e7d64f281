//! A caller's request, read as far as the gateway needs to know it. The rest is never interpreted.

mod json;
mod raw;
mod shape;
mod words;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderMap;

use self::json::JsonBody;
pub use self::{
    raw::RawCall,
    shape::{BodyForm, Shape, weigh_message},
    words::Words,
};
use super::{
    answer::TranscriptFormat,
    confidence::Confidence,
    conversation::Asked,
    fault::PublicError,
    field_rules::{Forced, obey_in_form},
    interface::{Capability, FieldRule},
    json_object::{Edit, JsonError, JsonObject, MOST_MEMBERS, quoted},
    multipart::{Boundary, Form, FormError},
};

/// A request and what matters here of it.
#[derive(Debug, Clone)]
pub struct Call {
    /// What the caller named.
    pub model: String,
    pub stream: bool,
    /// Whether the caller wants the stream's usage chunk.
    pub include_usage: bool,
    /// Tokens of the input, roughly: what is held back for them before the call begins.
    pub estimated_input: u64,
    /// Tokens of output that the caller asks for at most; 0 when it leaves that to the vendor.
    pub asked_output: u64,
    /// Answers that it asks for at once.
    pub choices: u64,
    /// Whether the vendor has to say how long the recording is.
    pub timed: bool,
    /// How sure the answer's parts have to be, if that was asked for.
    pub min_confidence: Option<Confidence>,
    /// `response_format` where it is a word that decides what an answer looks like.
    pub format: Option<&'static str>,
    /// The stored conversation that it names.
    pub conversation: Option<Asked>,
    /// The wire format in which the caller speaks and wants its answer.
    voice: Voice,
    /// What it said, word for word, where that is another format than the one that is read here and no rule has changed it.
    verbatim: Option<Verbatim>,
    /// What it said beside that, whatever rules have changed.
    beside: Vec<(&'static str, String)>,
    shape: &'static Shape,
    content: Content,
    forced: Forced,
}

/// A caller's wire format. Requests in another one than OpenAI's are translated to it before anything reads them, so that each rule
/// and each limit holds for all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Voice {
    #[default]
    OpenAi,
    /// `/v1/messages`.
    Anthropic,
    /// `/v1/responses`.
    Responses,
}

impl Voice {
    pub const ALL: [Self; 3] = [Self::OpenAi, Self::Anthropic, Self::Responses];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Responses => "responses",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|voice| voice.as_str() == word)
    }
}

/// A body in the caller's own format.
#[derive(Debug, Clone)]
struct Verbatim {
    body: Bytes,
    model_at: std::ops::Range<usize>,
}

/// Headers of a format that vendors of the same format may get.
const SAID_HEADERS: [(Voice, &str); 2] = [
    (Voice::Anthropic, "anthropic-version"),
    (Voice::Anthropic, "anthropic-beta"),
];
/// No such header is longer.
const MAX_SAID_HEADER_BYTES: usize = 1024;

#[derive(Debug, Clone)]
enum Content {
    Json(JsonBody),
    Form(Form),
    Raw(Box<RawCall>),
}

/// What a request says that matters here, in either form.
struct Facts {
    model: String,
    stream: bool,
    include_usage: bool,
    estimated_input: u64,
    asked_output: u64,
    choices: u64,
    min_confidence: Option<Confidence>,
    format: Option<&'static str>,
    conversation: Option<Asked>,
}

impl Call {
    /// Reads a request for a capability. A boundary says that the body is a form.
    ///
    /// # Errors
    /// What to tell the caller.
    pub fn read(capability: Capability, body: Bytes, boundary: Option<&Boundary>) -> Result<Self, PublicError> {
        let shape = Shape::of(capability).ok_or_else(|| {
            let message = format!("There is no request for {} here.", capability.as_str());
            PublicError::invalid(None, "unknown_capability", message)
        })?;
        let (facts, content) = match &shape.body {
            BodyForm::Json(_) => {
                let (facts, body) = JsonBody::read(shape, body)?;
                (facts, Content::Json(body))
            }
            BodyForm::Multipart(check) => {
                let boundary = boundary.ok_or_else(|| {
                    let message = "The body of the request must be multipart/form-data with a boundary.";
                    PublicError::invalid(None, "invalid_form", message)
                })?;
                let form = Form::parse(&body, boundary).map_err(form_error)?;
                (read_form(shape, &form, *check)?, Content::Form(form))
            }
        };
        Ok(Self::new(shape, facts, content))
    }

    fn new(shape: &'static Shape, facts: Facts, content: Content) -> Self {
        Self {
            model: facts.model,
            stream: facts.stream,
            include_usage: facts.include_usage,
            estimated_input: facts.estimated_input,
            asked_output: facts.asked_output,
            choices: facts.choices,
            timed: false,
            min_confidence: facts.min_confidence,
            format: facts.format,
            conversation: facts.conversation,
            voice: Voice::default(),
            verbatim: None,
            beside: Vec::new(),
            shape,
            content,
            forced: Forced::default(),
        }
    }

    /// The same request as it was said in another format: what was read so far is a translation of `body`.
    #[must_use]
    pub fn said_as(self, voice: Voice, body: Bytes) -> Self {
        let model_at = JsonObject::parse(&body).ok().and_then(|object| {
            let model = object.get("model").ok().flatten()?;
            Some(model.range.clone())
        });
        let verbatim = model_at.map(|model_at| Verbatim { body, model_at });
        Self {
            voice,
            verbatim,
            ..self
        }
    }

    /// With what stood beside the caller's own bytes, as far as vendors of the same format may get it.
    #[must_use]
    pub fn said_beside(mut self, headers: &HeaderMap) -> Self {
        for (_, name) in SAID_HEADERS.iter().filter(|(of, _)| *of == self.voice) {
            let values = headers.get_all(*name).iter().filter_map(|value| value.to_str().ok());
            let values = values.filter(|value| value.len() <= MAX_SAID_HEADER_BYTES);
            self.beside.extend(values.map(|value| (*name, value.to_owned())));
        }
        self
    }

    pub fn capability(&self) -> Capability {
        self.shape.capability
    }

    /// The caller's format.
    pub fn voice(&self) -> Voice {
        self.voice
    }

    /// The caller's own bytes with the vendor's name of the model, where they are in the caller's own format and still what is meant.
    pub fn verbatim_for(&self, model: &str) -> Option<Vec<Bytes>> {
        let Verbatim { body, model_at } = self.verbatim.as_ref()?;
        Some(vec![
            body.slice(..model_at.start),
            Bytes::from(quoted(model)),
            body.slice(model_at.end..),
        ])
    }

    /// The same, with what else has to be otherwise.
    pub fn verbatim_with(&self, model: &str, changes: impl FnOnce(&JsonObject<'_>) -> Vec<Edit>) -> Option<Vec<Bytes>> {
        let Verbatim { body, model_at } = self.verbatim.as_ref()?;
        let mut edits = changes(&JsonObject::parse(body).ok()?);
        edits.push(Edit {
            range: model_at.clone(),
            with: quoted(model),
        });
        edits.sort_by_key(|edit| edit.range.start);
        let mut pieces = Vec::with_capacity(2 * edits.len() + 1);
        let mut at = 0;
        for Edit { range, with } in edits {
            pieces.push(body.slice(at..range.start));
            pieces.push(Bytes::from(with));
            at = range.end;
        }
        pieces.push(body.slice(at..));
        Some(pieces)
    }

    /// What the caller said in a header of its own format, beside its own bytes.
    pub fn said_header(&self, name: &str) -> impl Iterator<Item = &str> {
        let all = self.beside.iter().filter(move |(known, _)| *known == name);
        all.map(|(_, value)| value.as_str())
    }

    /// Whether the caller's own bytes can stand for the request.
    pub fn is_verbatim(&self) -> bool {
        self.verbatim.is_some()
    }

    /// Applies an interface's field rules, in their order. The result is read again, since a rule may change what matters.
    ///
    /// # Errors
    /// A forbidden field is there, or a rule does not fit the request.
    pub fn shaped_by<'r>(self, rules: impl Iterator<Item = &'r FieldRule>) -> Result<Self, PublicError> {
        let mut rules = rules.peekable();
        if rules.peek().is_none() {
            return Ok(self);
        }
        let asked = self.include_usage;
        let mut forced = Forced::default();
        let (facts, content) = match &self.content {
            Content::Json(body) => match body.shaped_by(self.shape, rules, &mut forced)? {
                None => return Ok(self),
                Some((facts, body)) => (facts, Content::Json(body)),
            },
            Content::Form(form) => {
                let mut form = form.clone();
                for rule in rules {
                    obey_in_form(&mut form, self.shape, rule, &mut forced)?;
                }
                let BodyForm::Multipart(check) = &self.shape.body else {
                    return Ok(self);
                };
                (read_form(self.shape, &form, *check)?, Content::Form(form))
            }
            Content::Raw(_) => return self.ruled_raw(rules),
        };
        Ok(Self {
            // A rule that forces include_usage is about the vendor; the caller still gets what it asked for.
            include_usage: asked,
            forced,
            voice: self.voice,
            beside: self.beside,
            ..Self::new(self.shape, facts, content)
        })
    }

    /// Holds the answer to the interface's threshold as well: the stricter one counts.
    #[must_use]
    pub fn held_to(self, least: Option<Confidence>) -> Self {
        Self {
            min_confidence: Confidence::stricter(self.min_confidence, least),
            ..self
        }
    }

    /// Has the vendor say how long the recording is, whatever format the caller wants.
    #[must_use]
    pub fn timed(self, timed: bool) -> Self {
        Self { timed, ..self }
    }

    /// The messages of a request that has some, as they are written.
    ///
    /// # Errors
    /// There are none.
    pub fn messages(&self) -> Result<Vec<Box<str>>, PublicError> {
        match &self.content {
            Content::Json(body) => body.messages(),
            Content::Form(_) | Content::Raw(_) => Err(missing(json::MESSAGES)),
        }
    }

    /// The same request with earlier messages before its own, and without the name of their conversation.
    ///
    /// # Errors
    /// What to tell the caller.
    pub fn continued(self, earlier: &[Box<str>]) -> Result<Self, PublicError> {
        match &self.content {
            Content::Json(body) => {
                let (facts, body) = body.continued(self.shape, earlier)?;
                Ok(Self {
                    voice: self.voice,
                    ..Self::new(self.shape, facts, Content::Json(body))
                })
            }
            Content::Form(_) | Content::Raw(_) => Ok(self),
        }
    }

    /// The body for a vendor: its model's name, usage asked for, nothing that is only between the caller and us; the caller's bytes
    /// otherwise.
    pub fn for_vendor(&self, model: &str) -> Vec<Bytes> {
        match &self.content {
            Content::Json(body) => body.for_vendor(model),
            Content::Form(form) => self.form_for_vendor(form, model),
            Content::Raw(call) => call.pieces(),
        }
    }

    fn form_for_vendor(&self, form: &Form, model: &str) -> Vec<Bytes> {
        let mut form = form.clone();
        // These names were read without fault before, and neither value can hold a caller's boundary that began the body.
        let _ = form.set("model", vec![model.to_owned()]);
        if self.shape.scored {
            let _ = form.remove(shape::MIN_CONFIDENCE);
        }
        if self.min_confidence.is_some() || self.timed {
            // The other formats have no scores to judge by, and no duration; the caller's is made of this one.
            let _ = form.set("response_format", vec!["verbose_json".to_owned()]);
            let asks = |wanted: Option<&str>| {
                let mut parts = form.parts().iter();
                parts.any(|part| &*part.name == GRANULARITIES && wanted.is_none_or(|wanted| part.text() == wanted))
            };
            if asks(None) && !asks(Some("segment")) {
                let mut values: Vec<_> = form.texts(GRANULARITIES).map(str::to_owned).collect();
                values.push("segment".to_owned());
                let _ = form.set(GRANULARITIES, values);
            }
        }
        form.render()
    }

    /// The media type of [`Self::for_vendor`].
    pub fn content_type(&self) -> Cow<'static, str> {
        match &self.content {
            Content::Json(_) => "application/json".into(),
            Content::Form(form) => form.content_type().into(),
            Content::Raw(call) => call.content_type().to_owned().into(),
        }
    }

    /// The request as the caller sent it, field rules applied.
    pub fn body(&self) -> Bytes {
        match &self.content {
            Content::Json(body) => body.shaped(),
            Content::Form(form) => form.render().concat().into(),
            Content::Raw(call) => call.body.clone(),
        }
    }

    /// The fields of a request that is a form.
    pub fn form(&self) -> Option<&Form> {
        match &self.content {
            Content::Form(form) => Some(form),
            Content::Json(_) | Content::Raw(_) => None,
        }
    }

    /// The same for people: of a form a line for each field, and of the recording what it is.
    pub fn outline(&self) -> Bytes {
        match &self.content {
            Content::Json(body) => body.shaped(),
            Content::Form(form) => form.outline().into(),
            Content::Raw(call) => call.outline(),
        }
    }

    /// The fields that rules forced to something else than what the caller sent, as the value of a header.
    pub fn forced_fields(&self) -> Option<String> {
        self.forced.to_header()
    }

    /// The caller's format of a transcript.
    pub fn transcript_format(&self) -> TranscriptFormat {
        self.format
            .and_then(TranscriptFormat::parse)
            .unwrap_or(TranscriptFormat::Json)
    }
}

const GRANULARITIES: &str = "timestamp_granularities[]";

fn read_form(
    shape: &'static Shape,
    form: &Form,
    check: fn(&Form) -> Result<u64, PublicError>,
) -> Result<Facts, PublicError> {
    let text = |name: &str| {
        let part = form.get(name).map_err(form_error)?;
        Ok::<_, PublicError>(part.map(super::multipart::Part::text))
    };
    let model = text("model")?.ok_or_else(|| missing("model"))?.to_owned();
    match text("stream")? {
        None | Some("false" | "") => {}
        Some("true") => return Err(wrong("stream", "is not offered here")),
        Some(_) => return Err(wrong("stream", "must be true or false")),
    }
    let min_confidence = match text(shape::MIN_CONFIDENCE)? {
        Some(threshold) if shape.scored => Some(read_confidence(threshold)?),
        _ => None,
    };
    // Asked for, so that another spelling of it is noticed before a threshold overwrites the one it knows.
    text(GRANULARITIES)?;
    Ok(Facts {
        estimated_input: check(form)?,
        format: read_format(shape, text("response_format")?)?,
        model,
        stream: false,
        include_usage: false,
        asked_output: 0,
        choices: 1,
        min_confidence,
        conversation: None,
    })
}

fn read_confidence(text: &str) -> Result<Confidence, PublicError> {
    Confidence::read(text).map_err(|_| wrong(shape::MIN_CONFIDENCE, "must be a number from 0 to 1"))
}

/// The word for the answer's format, where there is a list of them.
fn read_format(shape: &Shape, asked: Option<&str>) -> Result<Option<&'static str>, PublicError> {
    let Some(asked) = asked else {
        return Ok(shape.formats.first().copied());
    };
    if shape.formats.is_empty() {
        return Ok(None);
    }
    let known = shape.formats.iter().copied().find(|known| *known == asked);
    match known {
        Some(known) => Ok(Some(known)),
        None => Err(wrong(
            "response_format",
            &format!("must be one of {}", shape.formats.join(", ")),
        )),
    }
}

fn json_error(error: JsonError) -> PublicError {
    match error {
        JsonError::Malformed(reason) => PublicError::invalid(
            None,
            "invalid_json",
            format!("The body of the request is not a JSON object that could be read: {reason}."),
        ),
        JsonError::TooManyMembers => PublicError::invalid(
            None,
            "invalid_json",
            format!("An object in the body of the request has more than {MOST_MEMBERS} members."),
        ),
        JsonError::Duplicate(name) => wrong(&name, "stands in the body twice"),
        JsonError::Respelt { name, .. } => wrong(&name, "stands in the body in another spelling"),
    }
}

pub(super) fn form_error(error: FormError) -> PublicError {
    match error {
        FormError::Malformed(why) => PublicError::invalid(
            None,
            "invalid_form",
            format!("The body of the request is not a form that could be read: {why}."),
        ),
        FormError::Field { name, why } => wrong(&name, why),
    }
}

fn missing(field: &str) -> PublicError {
    PublicError::invalid(
        Some(field),
        "missing_required_parameter",
        format!("The field '{field}' is required."),
    )
}

fn wrong(field: &str, why: &str) -> PublicError {
    PublicError::invalid(Some(field), "invalid_value", format!("The field '{field}' {why}."))
}
