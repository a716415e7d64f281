//! A request in JSON: the caller's bytes, and what is spliced into them.

use std::ops::Range;

use bytes::Bytes;

use super::{
    BodyForm, Facts, Shape, json_error, missing, read_confidence, read_format,
    shape::{CONVERSATION_ID, MIN_CONFIDENCE},
    wrong,
};
use crate::domain::{
    conversation::{Asked, NEW},
    fault::PublicError,
    field_rules::{Forced, obey},
    ids::ConversationId,
    interface::FieldRule,
    json_draft::Draft,
    json_object::{Edit, JsonObject, apply, elements, quoted},
    numbers::written_count,
};

const STREAM_OPTIONS: &str = "stream_options";
pub(super) const MESSAGES: &str = "messages";
/// Names of conversations are shorter.
const MAX_NAME_BYTES: usize = 64;

/// A JSON object as it came.
#[derive(Debug, Clone)]
pub(super) struct JsonBody {
    bytes: Bytes,
    model_at: Range<usize>,
    /// What field rules changed.
    ruled: Vec<Splice>,
    /// The same, and what a vendor gets otherwise than the caller sent it.
    vendor: Vec<Splice>,
}

/// A place in the body, and what stands there instead. A copy of it copies no text.
type Splice = (Range<usize>, Bytes);

impl JsonBody {
    pub(super) fn read(shape: &Shape, bytes: Bytes) -> Result<(Facts, Self), PublicError> {
        let draft = Draft::parse(&bytes).map_err(json_error)?;
        let (facts, changes) = Self::finish(shape, draft)?;
        Ok((facts, changes.onto(bytes)))
    }

    /// The same request with rules applied; `None` when they change nothing.
    pub(super) fn shaped_by<'r>(
        &self,
        shape: &Shape,
        rules: impl Iterator<Item = &'r FieldRule>,
        forced: &mut Forced,
    ) -> Result<Option<(Facts, Self)>, PublicError> {
        let mut draft = Draft::parse(&self.bytes).map_err(json_error)?;
        for rule in rules {
            obey(&mut draft, shape, rule, forced)?;
        }
        if draft.is_untouched() {
            return Ok(None);
        }
        let (facts, changes) = Self::finish(shape, draft)?;
        Ok(Some((facts, changes.onto(self.bytes.clone()))))
    }

    fn finish(shape: &Shape, mut draft: Draft<'_>) -> Result<(Facts, Changes), PublicError> {
        let model = draft.object().get("model").map_err(json_error)?;
        let model = model.ok_or_else(|| missing("model"))?;
        let model_at = model.range.clone();
        let name: String = serde_json::from_str(model.value).map_err(|_| wrong("model", "must be a string"))?;
        let stream = match draft.get("stream").map_err(json_error)?.as_deref() {
            None | Some("null" | "false") => false,
            Some("true") if shape.streams => true,
            Some("true") => return Err(wrong("stream", "is not offered here")),
            Some(_) => return Err(wrong("stream", "must be true or false")),
        };
        let estimated_input = match &shape.body {
            BodyForm::Json(check) => check(&draft)?,
            BodyForm::Multipart(_) => 0,
        };
        let min_confidence = match draft.get(MIN_CONFIDENCE).map_err(json_error)?.as_deref() {
            Some(threshold) if shape.scored && threshold != "null" => Some(read_confidence(threshold)?),
            _ => None,
        };
        let (ruled, steps) = (splices(&draft), draft.steps());
        let conversation = match shape.converses {
            true => take_conversation(&mut draft)?,
            false => None,
        };
        // Without a stream there is no usage chunk to ask for.
        let include_usage = !stream || !ask_for_usage(&mut draft)?;
        if shape.scored {
            draft.remove(MIN_CONFIDENCE).map_err(json_error)?;
        }
        let facts = Facts {
            model: name,
            stream,
            include_usage,
            estimated_input,
            asked_output: asked_output(&draft)?,
            choices: number(&draft, "n")?.unwrap_or(1).max(1),
            min_confidence,
            format: format_of(shape, &draft)?,
            conversation,
        };
        let vendor = match draft.steps() == steps {
            true => ruled.clone(),
            false => splices(&draft),
        };
        Ok((
            facts,
            Changes {
                model_at,
                ruled,
                vendor,
            },
        ))
    }

    /// The caller's own messages.
    pub(super) fn messages(&self) -> Result<Vec<Box<str>>, PublicError> {
        let object = JsonObject::parse(&self.bytes).map_err(json_error)?;
        let messages = object.get(MESSAGES).map_err(json_error)?;
        let messages = messages.ok_or_else(|| missing(MESSAGES))?;
        let messages = elements(messages.value).map_err(json_error)?;
        Ok(messages.into_iter().map(Box::from).collect())
    }

    /// Earlier messages before its own, and no name of a conversation.
    pub(super) fn continued(&self, shape: &Shape, earlier: &[Box<str>]) -> Result<(Facts, Self), PublicError> {
        let mut draft = Draft::parse(&self.bytes).map_err(json_error)?;
        draft.remove(CONVERSATION_ID).map_err(json_error)?;
        if !earlier.is_empty() {
            let own = draft.get(MESSAGES).map_err(json_error)?;
            let own = own.ok_or_else(|| missing(MESSAGES))?;
            let has_own = !elements(&own).map_err(json_error)?.is_empty();
            let comma = if has_own { "," } else { "" };
            // Behind the bracket by which the array begins.
            let edit = Edit {
                range: 1..1,
                with: earlier.join(",") + comma,
            };
            draft.edit(MESSAGES, vec![edit]).map_err(json_error)?;
        }
        let text = apply(draft.object().text(), draft.edits());
        Self::read(shape, text.into())
    }

    pub(super) fn for_vendor(&self, model: &str) -> Vec<Bytes> {
        let own = (self.model_at.clone(), Bytes::from(quoted(model)));
        // No rule touches the model, so it stands between two other changes.
        let at = self.vendor.partition_point(|(range, _)| range.start < own.0.start);
        let (before, behind) = self.vendor.split_at_checked(at).unwrap_or_default();
        self.spliced(before.iter().chain([&own]).chain(behind))
    }

    /// The same request without what is only the vendor's.
    pub(super) fn as_shaped(&self) -> Self {
        Self {
            bytes: self.bytes.clone(),
            model_at: self.model_at.clone(),
            ruled: self.ruled.clone(),
            vendor: Vec::new(),
        }
    }

    /// Bytes that it holds, at most.
    pub(super) fn length(&self) -> usize {
        self.bytes.len() + self.ruled.iter().map(|(_, with)| with.len()).sum::<usize>()
    }

    pub(super) fn shaped(&self) -> Bytes {
        match self.ruled.as_slice() {
            [] => self.bytes.clone(),
            changes => self.spliced(changes.iter()).concat().into(),
        }
    }

    fn spliced<'s>(&self, changes: impl Iterator<Item = &'s Splice>) -> Vec<Bytes> {
        let mut pieces = Vec::with_capacity(self.vendor.len() * 2 + 3);
        let mut at = 0;
        for (range, with) in changes {
            if at < range.start {
                pieces.push(self.bytes.slice(at..range.start));
            }
            at = range.end;
            if !with.is_empty() {
                pieces.push(with.clone());
            }
        }
        pieces.push(self.bytes.slice(at..));
        pieces
    }
}

/// A [`JsonBody`] without the bytes, which are borrowed while it is made.
struct Changes {
    model_at: Range<usize>,
    ruled: Vec<Splice>,
    vendor: Vec<Splice>,
}

impl Changes {
    fn onto(self, bytes: Bytes) -> JsonBody {
        JsonBody {
            bytes,
            model_at: self.model_at,
            ruled: self.ruled,
            vendor: self.vendor,
        }
    }
}

/// Takes the name of a conversation out: it is between the caller and us.
fn take_conversation(draft: &mut Draft<'_>) -> Result<Option<Asked>, PublicError> {
    let Some(value) = draft.get(CONVERSATION_ID).map_err(json_error)? else {
        return Ok(None);
    };
    let name: Option<String> = serde_json::from_str(&value).map_err(|_| wrong(CONVERSATION_ID, "must be a string"))?;
    let asked = match name {
        None => None,
        Some(name) if name == NEW => Some(Asked::New),
        Some(name) if name.len() <= MAX_NAME_BYTES => Some(Asked::Earlier(ConversationId::new(name))),
        Some(_) => return Err(wrong(CONVERSATION_ID, "is too long")),
    };
    draft.remove(CONVERSATION_ID).map_err(json_error)?;
    Ok(asked)
}

/// The most output that the answer may have, all its choices together.
fn asked_output(draft: &Draft<'_>) -> Result<u64, PublicError> {
    // The newer name goes first, as with OpenAI.
    let most = match number(draft, "max_completion_tokens")? {
        Some(most) => Some(most),
        None => number(draft, "max_tokens")?,
    };
    let Some(most) = most else { return Ok(0) };
    Ok(most.saturating_mul(number(draft, "n")?.unwrap_or(1)))
}

/// `8.0` and `"8"` are numbers as well, since many vendors take them for what they are. What is none is left to the vendor to refuse.
fn number(draft: &Draft<'_>, name: &str) -> Result<Option<u64>, PublicError> {
    let value = draft.get(name).map_err(json_error)?;
    Ok(value.and_then(|value| written_count(value.trim_matches('"'))))
}

fn splices(draft: &Draft<'_>) -> Vec<Splice> {
    let edits = draft.edits().into_iter();
    edits.map(|Edit { range, with }| (range, Bytes::from(with))).collect()
}

fn format_of(shape: &Shape, draft: &Draft<'_>) -> Result<Option<&'static str>, PublicError> {
    if shape.formats.is_empty() {
        return Ok(None);
    }
    let value = draft.get("response_format").map_err(json_error)?;
    let word = match value.as_deref() {
        None | Some("null") => None,
        Some(value) => {
            Some(serde_json::from_str::<String>(value).map_err(|_| wrong("response_format", "must be a string"))?)
        }
    };
    read_format(shape, word.as_deref())
}

/// Asks for the stream's usage; says whether the caller had not.
fn ask_for_usage(draft: &mut Draft<'_>) -> Result<bool, PublicError> {
    let value = draft.get(STREAM_OPTIONS).map_err(json_error)?;
    let Some(options) = value.filter(|options| options != "null") else {
        let asked = r#"{"include_usage":true}"#.to_owned();
        draft.set(STREAM_OPTIONS, asked).map_err(json_error)?;
        return Ok(true);
    };
    let inner = JsonObject::parse(options.as_bytes()).map_err(|_| wrong(STREAM_OPTIONS, "must be an object"))?;
    let asked = inner
        .get("include_usage")
        .map_err(json_error)?
        .map(|member| member.value);
    let edit = match asked {
        Some("true") => return Ok(false),
        None | Some("false" | "null") => inner.set("include_usage", "true").map_err(json_error)?,
        Some(_) => return Err(wrong("stream_options.include_usage", "must be true or false")),
    };
    draft.edit(STREAM_OPTIONS, vec![edit]).map_err(json_error)?;
    Ok(true)
}
