//! What of a request is counted in case its vendor does not.

use bytes::Bytes;

use super::{
    Call, Content, Shape,
    json::JsonBody,
    shape::{BESIDE_MESSAGES, is_seen},
};
use crate::domain::{
    json_object::{JsonObject, elements},
    prompt::Prompt,
};

/// OpenAI's rule: three tokens a message besides its texts, one for its role, and three for the answer's beginning.
const MESSAGE_TOKENS: u64 = 4;
const ANSWER_TOKENS: u64 = 3;

/// A request's words: the bytes that came, not looked at before they are needed. A copy copies no text.
#[derive(Debug, Clone)]
pub struct Words(Form);

#[derive(Debug, Clone)]
enum Form {
    Json(&'static Shape, JsonBody),
    /// The only field of a form that is read as text.
    Text(Bytes),
}

impl Call {
    /// What of the request is counted in case the vendor does not.
    pub fn words(&self) -> Words {
        Words(match &self.content {
            Content::Json(body) => Form::Json(self.shape, body.as_shaped()),
            Content::Form(form) => {
                let prompt = form.get("prompt").ok().flatten();
                Form::Text(prompt.map(|prompt| prompt.value.clone()).unwrap_or_default())
            }
            // Paid for by the call.
            Content::Raw(_) => Form::Text(Bytes::new()),
        })
    }
}

impl Words {
    /// The length of what is held.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Form::Json(_, body) => body.length(),
            Form::Text(text) => text.len(),
        }
    }

    /// Looks for the texts.
    pub fn gather(&self) -> Prompt {
        let mut prompt = Prompt::default();
        match &self.0 {
            Form::Json(shape, body) => {
                let body = body.shaped();
                if let Ok(object) = JsonObject::parse(&body) {
                    (shape.counts)(&object, &mut prompt);
                }
            }
            Form::Text(text) => prompt.read(std::str::from_utf8(text).unwrap_or_default()),
        }
        prompt
    }
}

/// The member as it is written. A request in which it could not be found was refused before.
fn member<'o>(object: &'o JsonObject<'_>, name: &str) -> &'o str {
    object.get(name).ok().flatten().map_or("", |member| member.value)
}

pub(super) fn chat(object: &JsonObject<'_>, prompt: &mut Prompt) {
    prompt.add_tokens(ANSWER_TOKENS);
    for message in elements(member(object, "messages")).unwrap_or_default() {
        prompt.add_tokens(MESSAGE_TOKENS);
        prompt.read_json(message);
    }
    for name in BESIDE_MESSAGES {
        let beside = member(object, name);
        if is_seen(name, beside) {
            prompt.read(beside);
        }
    }
}

pub(super) fn input(object: &JsonObject<'_>, prompt: &mut Prompt) {
    prompt.read_tokens(member(object, "input"));
}

pub(super) fn text_input(object: &JsonObject<'_>, prompt: &mut Prompt) {
    prompt.read_json(member(object, "input"));
}

pub(super) fn drawing(object: &JsonObject<'_>, prompt: &mut Prompt) {
    prompt.read_json(member(object, "prompt"));
}

pub(super) fn query_and_documents(object: &JsonObject<'_>, prompt: &mut Prompt) {
    prompt.read_json(member(object, "query"));
    prompt.read_json(member(object, "documents"));
}

pub(super) fn speech(object: &JsonObject<'_>, prompt: &mut Prompt) {
    if let Ok(text) = serde_json::from_str::<String>(member(object, "input")) {
        prompt.speak(&text);
    }
}

pub(super) fn picture(_: &JsonObject<'_>, prompt: &mut Prompt) {
    prompt.look_at_picture();
}

pub(super) fn nothing(_: &JsonObject<'_>, _: &mut Prompt) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        interface::{Capability, FieldAction, FieldRule, JsonPointer},
        prompt::Input,
        vendor::Switch,
    };
    use serde_json::json;

    /// Words are tokens.
    fn count(capability: Capability, body: &serde_json::Value) -> Input {
        let call = Call::read(capability, body.to_string().into(), None).unwrap();
        call.words()
            .gather()
            .count(|text| Some(text.split_whitespace().count() as u64))
    }

    #[test]
    fn each_capability_counts_what_its_vendors_are_paid_for() {
        let tokens = |tokens| Input {
            tokens,
            ..Input::default()
        };
        for (capability, body, wanted) in [
            (
                Capability::Chat,
                json!({"model": "m", "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]}),
                tokens(3 + 4 + 2 + 4 + 1),
            ),
            (
                Capability::Chat,
                json!({"model": "m", "messages": [], "tools": ["a b c"], "response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}),
                tokens(3 + 3 + 1),
            ),
            (
                Capability::Chat,
                json!({"model": "m", "messages": [], "response_format": {"type": "text"}, "user": "a b c"}),
                tokens(3),
            ),
            (
                Capability::Embeddings,
                json!({"model": "m", "input": ["one two", "three"]}),
                tokens(3),
            ),
            (
                Capability::Embeddings,
                json!({"model": "m", "input": [[1, 2], [3]]}),
                tokens(3),
            ),
            (
                Capability::Moderation,
                json!({"model": "m", "input": "one two"}),
                tokens(2),
            ),
            (
                Capability::Rerank,
                json!({"model": "m", "query": "one", "documents": ["two", {"text": "three four"}]}),
                tokens(4),
            ),
            (
                Capability::Image,
                json!({"model": "m", "prompt": "a cat", "n": 2}),
                tokens(2),
            ),
            (
                Capability::Speech,
                json!({"model": "m", "input": "h\u{e9} \u{1f600}", "voice": "v"}),
                Input {
                    characters: 4,
                    ..Input::default()
                },
            ),
            (
                Capability::Ocr,
                json!({"model": "m", "image": {"base64": "eA=="}}),
                Input {
                    images: 1,
                    ..Input::default()
                },
            ),
        ] {
            assert_eq!(count(capability, &body), wanted, "{body}");
        }
    }

    #[test]
    fn what_rules_changed_is_counted_as_it_was_sent() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;
        let call = Call::read(Capability::Chat, body.into(), None).unwrap();
        let rule = FieldRule {
            pointer: JsonPointer::parse("/messages/-").unwrap(),
            action: FieldAction::Force(json!({"role": "system", "content": "be very brief"})),
            enabled: Switch::On,
        };
        let call = call.shaped_by([&rule].into_iter()).unwrap();
        let words = call.words();
        assert!(words.bytes() >= body.len());
        let input = words
            .gather()
            .count(|text| Some(text.split_whitespace().count() as u64));
        assert_eq!(input.tokens, 3 + 4 + 1 + 4 + 3);
    }
}
