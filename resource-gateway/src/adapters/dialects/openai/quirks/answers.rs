//! Answers of vendors as OpenAI would have written them: places in the text are exchanged, and the rest stays as it came.

use std::hash::{DefaultHasher, Hasher as _};

use memchr::memmem;
use serde::Deserialize;

use super::{
    super::calls::{Calls, Told},
    Quirks,
    rewrite::place_in,
};
use crate::domain::{
    chat::named_call,
    json_draft::Draft,
    json_object::{Edit, JsonError, JsonObject, elements, quoted},
};

const CHOICES: &str = "choices";
const USAGE: &str = "usage";
const TOOL_CALLS: &str = "tool_calls";

/// What of a chunk has to change, as far as its reader knows already.
#[derive(Debug, Default)]
pub(in super::super) struct Odd<'a> {
    /// It says what was used, which has a chunk of its own.
    pub(in super::super) counts: bool,
    /// A choice has no `delta`.
    pub(in super::super) bare: bool,
    /// Members that came without a choice, by name and value.
    pub(in super::super) beside: &'a [(String, String)],
}

/// Whole, or a chunk.
enum Form<'a> {
    Whole,
    Chunk(Odd<'a>, &'a mut Calls),
}

impl Form<'_> {
    fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }
}

impl Quirks {
    /// What of a whole answer is otherwise for callers who know OpenAI's format alone.
    pub(in super::super) fn edits_of_whole(&self, body: &[u8]) -> Vec<Edit> {
        match self.finish_may_miss || self.may_concern(body) {
            // What cannot be read was judged before.
            true => self.edits_of_answer(body, Form::Whole).unwrap_or_default(),
            false => Vec::new(),
        }
    }

    /// What of a chunk is.
    pub(in super::super) fn edits_of_chunk(&self, body: &[u8], odd: Odd<'_>, calls: &mut Calls) -> Vec<Edit> {
        match odd.counts || odd.bare || !odd.beside.is_empty() || self.may_concern(body) {
            true => self.edits_of_answer(body, Form::Chunk(odd, calls)).unwrap_or_default(),
            false => Vec::new(),
        }
    }

    /// Whether one of the words that are exchanged may stand there.
    fn may_concern(&self, body: &[u8]) -> bool {
        let has = |word: &str| memmem::find(body, word.as_bytes()).is_some();
        has("\"tool_calls\"") || self.finishes.iter().any(|(theirs, _)| has(theirs))
    }

    fn edits_of_answer(&self, body: &[u8], mut form: Form<'_>) -> Result<Vec<Edit>, JsonError> {
        let mut draft = Draft::parse(body)?;
        if let Form::Chunk(odd, _) = &form {
            if odd.counts {
                draft.remove(USAGE)?;
            }
            for (name, value) in odd.beside {
                if draft.get(name)?.is_none() {
                    draft.set(name, value.clone())?;
                }
            }
        }
        let Some(choices) = draft.get(CHOICES)?.map(String::from) else {
            return Ok(draft.edits());
        };
        let mut edits = Vec::new();
        for choice in elements(&choices)? {
            let from = place_in(&choices, choice).start;
            let inner = self.edits_of_choice(choice, body, &mut form)?;
            edits.extend(inner.into_iter().map(|edit| edit.shifted(from)));
        }
        draft.edit(CHOICES, edits)?;
        Ok(draft.edits())
    }

    fn edits_of_choice(&self, choice: &str, body: &[u8], form: &mut Form<'_>) -> Result<Vec<Edit>, JsonError> {
        let mut draft = Draft::parse(choice.as_bytes())?;
        let reason = draft.get("finish_reason")?.map(String::from);
        let known = self
            .finishes
            .iter()
            .find(|(theirs, _)| reason.as_deref() == Some(&quoted(theirs)));
        match (known, reason.as_deref()) {
            (Some((_, ours)), _) => draft.set("finish_reason", quoted(ours))?,
            (None, None | Some("null" | "\"\"")) if form.is_whole() && self.finish_may_miss => {
                draft.set("finish_reason", quoted("stop"))?;
            }
            _ => {}
        }
        if let Form::Chunk(Odd { counts: true, .. }, _) = form {
            draft.remove(USAGE)?;
        }
        let said = if form.is_whole() { "message" } else { "delta" };
        match draft.get(said)?.map(String::from) {
            Some(text) if text.starts_with('{') => {
                let index = draft.get("index")?.and_then(|index| index.parse().ok()).unwrap_or(0);
                draft.edit(said, edits_of_calls(&text, index, body, form)?)?;
            }
            Some(_) => {}
            None if form.is_whole() => {}
            None => draft.set(said, "{}".to_owned())?,
        }
        Ok(draft.edits())
    }
}

fn edits_of_calls(said: &str, choice: u64, body: &[u8], form: &mut Form<'_>) -> Result<Vec<Edit>, JsonError> {
    let mut draft = Draft::parse(said.as_bytes())?;
    let calls = draft.get(TOOL_CALLS)?.map(String::from);
    let Some(calls) = calls.filter(|calls| calls.starts_with('[')) else {
        return Ok(Vec::new());
    };
    let mut edits = Vec::new();
    for (at, call) in (0..).zip(elements(&calls)?) {
        let from = place_in(&calls, call).start;
        let inner = edits_of_call(call, (choice, at), body, form)?;
        edits.extend(inner.into_iter().map(|edit| edit.shifted(from)));
    }
    draft.edit(TOOL_CALLS, edits)?;
    Ok(draft.edits())
}

/// A call, or a piece of one: OpenAI's clients want its kind and a name to answer to.
fn edits_of_call(
    call: &str,
    (choice, at): (u64, u32),
    body: &[u8],
    form: &mut Form<'_>,
) -> Result<Vec<Edit>, JsonError> {
    let mut draft = Draft::parse(call.as_bytes())?;
    let id = text_of(draft.get("id")?.as_deref());
    let function = draft.get("function")?.map(String::from);
    let mut inner = match &function {
        Some(function) if function.starts_with('{') => Some(Draft::parse(function.as_bytes())?),
        _ => None,
    };
    let name = match &inner {
        Some(inner) => text_of(inner.get("name")?.as_deref()),
        None => String::new(),
    };
    let (begins, number) = match form {
        Form::Whole => (true, at),
        Form::Chunk(_, calls) => {
            let theirs: Option<u64> = draft.get("index")?.and_then(|index| index.parse().ok());
            let told = Told {
                number: theirs,
                id: &id,
                name: &name,
            };
            let Some(place) = calls.place(choice, told) else {
                return Ok(Vec::new());
            };
            if theirs != Some(place.number.into()) {
                draft.set("index", place.number.to_string())?;
            }
            if let Some(inner) = inner.as_mut().filter(|_| place.repeats_name) {
                inner.remove("name")?;
            }
            (place.begins, place.number)
        }
    };
    if begins {
        if text_of(draft.get("type")?.as_deref()).is_empty() {
            draft.set("type", quoted("function"))?;
        }
        if id.is_empty() {
            draft.set("id", quoted(&named_call(seed_of(body, choice), number)))?;
        }
    } else if !id.is_empty() {
        // Clients put the pieces of an id together.
        draft.remove("id")?;
    }
    if let Some(mut inner) = inner {
        let arguments = inner.get("arguments")?.map(String::from);
        if let Some(object) = arguments.filter(|arguments| arguments.starts_with('{')) {
            inner.set("arguments", quoted(&object))?;
        }
        draft.edit("function", inner.edits())?;
    }
    Ok(draft.edits())
}

/// A text that is told; empty where there is none.
fn text_of(value: Option<&str>) -> String {
    let text = value.and_then(|value| serde_json::from_str(value).ok());
    text.unwrap_or_default()
}

/// What tells an answer's calls from those of others.
fn seed_of(body: &[u8], choice: u64) -> u64 {
    #[derive(Deserialize)]
    struct Named<'a> {
        id: &'a str,
    }
    let named = serde_json::from_slice::<Named<'_>>(body);
    let name = named.as_ref().map_or(body, |named| named.id.as_bytes());
    let mut hasher = DefaultHasher::new();
    hasher.write(name);
    hasher.write_u64(choice);
    hasher.finish()
}

/// The chunk that follows another one: what stands around its choices, with others, and with what was used if that is told.
pub(in super::super) fn following(chunk: &[u8], choices: &str, counts: Option<&str>) -> Option<String> {
    let follow = || -> Result<String, JsonError> {
        let mut draft = Draft::parse(chunk)?;
        draft.set(CHOICES, choices.to_owned())?;
        match counts {
            Some(counts) => draft.set(USAGE, counts.to_owned())?,
            None => drop(draft.remove(USAGE)?),
        }
        let text = crate::domain::json_object::apply(draft.object().text(), draft.edits());
        // It may have been written in several lines.
        Ok(text.replace(['\n', '\r'], " "))
    };
    follow().ok()
}

/// What was used as a chunk tells it, beside its choices or in one of them.
pub(in super::super) fn counts_in(chunk: &[u8]) -> Option<String> {
    let object = JsonObject::parse(chunk).ok()?;
    let told = |object: &JsonObject<'_>| {
        let usage = object.get(USAGE).ok()??.value;
        (usage != "null").then(|| usage.to_owned())
    };
    told(&object).or_else(|| {
        let choices = elements(object.get(CHOICES).ok()??.value).ok()?;
        let mut choices = choices.into_iter().rev();
        choices.find_map(|choice| told(&JsonObject::parse(choice.as_bytes()).ok()?))
    })
}

/// What a chunk without choices says that is not about the chunk itself.
pub(in super::super) fn beside(chunk: &[u8]) -> Vec<(String, String)> {
    const OF_THE_CHUNK: [&str; 6] = ["id", "object", "created", "model", CHOICES, USAGE];
    let Ok(object) = JsonObject::parse(chunk) else {
        return Vec::new();
    };
    let members = object.members().iter();
    let members = members.filter(|member| !OF_THE_CHUNK.contains(&member.name.as_ref()));
    members
        .map(|member| (member.name.clone().into_owned(), member.value.to_owned()))
        .collect()
}
