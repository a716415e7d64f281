//! A caller's request in OpenAI's shape, read as far as the gateway needs to know it.

use std::ops::Range;

use bytes::Bytes;

use super::{
    estimate::{TextWeight, tokens_of},
    fault::PublicError,
    interface::{Capability, FieldRule},
    json_object::{Edit, JsonError, JsonObject, apply, elements, quoted},
};

/// A message longer than this is looked at closely before its tokens are estimated: it may hold a picture.
const CLOSE_LOOK_BYTES: usize = 16 * 1024;

/// A request body and the places in it that matter here. The rest is never interpreted.
#[derive(Debug, Clone)]
pub struct Call {
    body: Bytes,
    /// What the caller named.
    pub model: String,
    pub stream: bool,
    /// Whether the caller wants the stream's usage chunk.
    pub include_usage: bool,
    /// Tokens of the input, roughly, for the case that the vendor does not say.
    pub estimated_input: u64,
    /// Tokens of output that the caller asks for at most; 0 when it leaves that to the vendor.
    pub asked_output: u64,
    model_at: Range<usize>,
    /// Sets `stream_options.include_usage` when the caller did not.
    usage_edit: Option<Edit>,
}

impl Call {
    /// Reads a request for a capability.
    ///
    /// # Errors
    /// What to tell the caller.
    pub fn read(capability: Capability, body: Bytes) -> Result<Self, PublicError> {
        let object = JsonObject::parse(&body).map_err(not_json)?;
        let model = object.get("model").map_err(not_json)?.ok_or_else(|| missing("model"))?;
        let name: String = serde_json::from_str(model.value).map_err(|_| wrong("model", "must be a string"))?;
        let stream = match object.get("stream").map_err(not_json)?.map(|member| member.value) {
            None | Some("null" | "false") => false,
            Some("true") if capability == Capability::Chat => true,
            Some("true") => return Err(wrong("stream", "is not offered here")),
            Some(_) => return Err(wrong("stream", "must be true or false")),
        };
        let estimated_input = check_input(capability, &object)?;
        // Without a stream there is no usage chunk to ask for.
        let usage = if stream { usage_option(&object)? } else { None };
        Ok(Self {
            model: name,
            stream,
            include_usage: usage.is_none(),
            estimated_input,
            asked_output: asked_output(&object)?,
            model_at: model.range.clone(),
            usage_edit: usage,
            body: body.clone(),
        })
    }

    /// Applies an interface's field rules: the result is read again, since a rule may change what matters.
    ///
    /// # Errors
    /// A forbidden field is there, or a rule does not fit the request.
    pub fn shaped_by<'r>(
        self,
        capability: Capability,
        rules: impl Iterator<Item = &'r FieldRule>,
    ) -> Result<Self, PublicError> {
        let asked = self.include_usage;
        let mut text: Option<String> = None;
        for rule in rules {
            let before = match &text {
                Some(text) => text.as_str(),
                // Checked when the body was read.
                None => std::str::from_utf8(&self.body).unwrap_or_default(),
            };
            if let Some(edit) = super::field_rules::edit(before, rule)? {
                text = Some(apply(before, vec![edit]));
            }
        }
        let Some(text) = text else { return Ok(self) };
        let shaped = Self::read(capability, text.into())?;
        // A rule that forces include_usage is about the vendor; the caller still gets what it asked for.
        Ok(Self {
            include_usage: asked,
            ..shaped
        })
    }

    /// The body for a vendor: its model's name, and usage asked for; the caller's bytes otherwise.
    pub fn for_vendor(&self, model: &str) -> Vec<Bytes> {
        let mut edits = vec![Edit {
            range: self.model_at.clone(),
            with: quoted(model),
        }];
        edits.extend(self.usage_edit.clone());
        edits.sort_by_key(|edit| edit.range.start);
        let mut pieces = Vec::with_capacity(edits.len() * 2 + 1);
        let mut at = 0;
        for edit in edits {
            pieces.push(self.body.slice(at..edit.range.start));
            at = edit.range.end;
            pieces.push(Bytes::from(edit.with));
        }
        pieces.push(self.body.slice(at..));
        pieces
    }

    /// The body as the caller sent it, field rules applied.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

/// The most output that the answer may have, all its choices together. What is no number is left to the vendor to refuse.
fn asked_output(object: &JsonObject<'_>) -> Result<u64, PublicError> {
    let number = |name: &str| {
        let member = object.get(name).map_err(not_json)?;
        Ok(member.and_then(|member| member.value.parse::<u64>().ok()))
    };
    // The newer name goes first, as with OpenAI.
    let most = match number("max_completion_tokens")? {
        Some(most) => Some(most),
        None => number("max_tokens")?,
    };
    let Some(most) = most else { return Ok(0) };
    Ok(most.saturating_mul(number("n")?.unwrap_or(1)))
}

fn not_json(error: JsonError) -> PublicError {
    match error {
        JsonError::Malformed(reason) => PublicError::invalid(
            None,
            "invalid_json",
            format!("The body of the request is not a JSON object that could be read: {reason}."),
        ),
        JsonError::Duplicate(name) => wrong(&name, "stands in the body twice"),
        JsonError::Respelt { name, .. } => wrong(&name, "stands in the body in another spelling"),
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

/// Checks the part of the request that the capability cannot do without, and weighs it.
fn check_input(capability: Capability, object: &JsonObject<'_>) -> Result<u64, PublicError> {
    let field = match capability {
        Capability::Chat => "messages",
        Capability::Embeddings => "input",
        // No dialect of this version takes the others, so none gets here.
        _ => return Ok(0),
    };
    let input = object
        .get(field)
        .map_err(not_json)?
        .ok_or_else(|| missing(field))?
        .value;
    if capability == Capability::Embeddings {
        return match input.as_bytes().first() {
            Some(b'"') => Ok(tokens_of(input)),
            Some(b'[') => weigh_inputs(input),
            _ => Err(wrong(field, "must be a string or an array")),
        };
    }
    let messages = elements(input).map_err(|_| wrong(field, "must be an array of objects"))?;
    if messages.iter().any(|message| !message.starts_with('{')) {
        return Err(wrong(field, "must be an array of objects"));
    }
    Ok(messages.iter().map(|message| weigh_message(message)).sum())
}

fn weigh_inputs(input: &str) -> Result<u64, PublicError> {
    let inputs = elements(input).map_err(|_| wrong("input", "must be a string or an array"))?;
    let weigh = |one: &&str| match one.as_bytes().first() {
        Some(b'"') => tokens_of(one),
        // Tokens, ready made.
        Some(b'[') => elements(one).map_or(0, |tokens| tokens.len() as u64),
        _ => 1,
    };
    Ok(inputs.iter().map(weigh).sum())
}

fn weigh_message(message: &str) -> u64 {
    if message.len() <= CLOSE_LOOK_BYTES {
        return tokens_of(message);
    }
    serde_json::from_str::<MessageText>(message).map_or(0, |message| message.content.0.tokens())
}

#[derive(serde::Deserialize)]
struct MessageText {
    #[serde(default)]
    content: TextWeight,
}

/// The edit that asks for usage; `None` when the caller asks for it already.
fn usage_option(object: &JsonObject<'_>) -> Result<Option<Edit>, PublicError> {
    const NAME: &str = "stream_options";
    let Some(options) = object
        .get(NAME)
        .map_err(not_json)?
        .filter(|options| options.value != "null")
    else {
        return object
            .set(NAME, r#"{"include_usage":true}"#)
            .map(Some)
            .map_err(not_json);
    };
    let inner = JsonObject::parse(options.value.as_bytes()).map_err(|_| wrong(NAME, "must be an object"))?;
    match inner.get("include_usage").map_err(not_json)?.map(|member| member.value) {
        Some("true") => Ok(None),
        None | Some("false" | "null") => {
            let edit = inner.set("include_usage", "true").map_err(not_json)?;
            Ok(Some(edit.shifted(options.range.start)))
        }
        Some(_) => Err(wrong("stream_options.include_usage", "must be true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn sent(body: &str) -> String {
        let call = Call::read(Capability::Chat, Bytes::copy_from_slice(body.as_bytes())).unwrap();
        String::from_utf8(call.for_vendor("up\"stream").concat()).unwrap()
    }

    #[test]
    fn the_model_gives_way_and_all_else_stays() {
        assert_eq!(
            sent("{ \"x_new\":{\"b\":1.0}, \"model\" : \"chat\",\n\"messages\":[ ] }"),
            "{ \"x_new\":{\"b\":1.0}, \"model\" : \"up\\\"stream\",\n\"messages\":[ ] }"
        );
    }

    #[test]
    fn usage_is_asked_for_only_in_streams_and_only_once() {
        for (options, wanted, asked) in [
            ("", Some(json!({"include_usage": true})), false),
            (r#","stream_options":null"#, Some(json!({"include_usage": true})), false),
            (r#","stream_options":{}"#, Some(json!({"include_usage": true})), false),
            (
                r#","stream_options":{"x":1,"include_usage":false}"#,
                Some(json!({"x": 1, "include_usage": true})),
                false,
            ),
            (
                r#","stream_options":{"include_usage":true,"x":1}"#,
                Some(json!({"x": 1, "include_usage": true})),
                true,
            ),
        ] {
            let body = format!(r#"{{"model":"m","messages":[],"stream":true{options}}}"#);
            let got: Value = serde_json::from_str(&sent(&body)).unwrap();
            assert_eq!(got.get("stream_options").cloned(), wanted, "{options}");
            let call = Call::read(Capability::Chat, body.into()).unwrap();
            assert_eq!(call.include_usage, asked);
        }
        let plain: Value = serde_json::from_str(&sent(r#"{"model":"m","messages":[]}"#)).unwrap();
        assert!(plain.get("stream_options").is_none());
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_the_name_of_the_field() {
        for (body, param) in [
            ("", None),
            ("[]", None),
            ("{", None),
            (r#"{"messages":[]}"#, Some("model")),
            (r#"{"model":7,"messages":[]}"#, Some("model")),
            (r#"{"model":"m"}"#, Some("messages")),
            (r#"{"model":"m","messages":"x"}"#, Some("messages")),
            (r#"{"model":"m","messages":["x"]}"#, Some("messages")),
            (r#"{"model":"m","messages":[],"stream":"yes"}"#, Some("stream")),
            (
                r#"{"model":"m","messages":[],"stream":true,"stream_options":7}"#,
                Some("stream_options"),
            ),
            (r#"{"model":"m","model":"n","messages":[]}"#, Some("model")),
            // Readers that know no case would take these for the others, and the last one wins.
            (r#"{"model":"m","Model":"n","messages":[]}"#, Some("model")),
            (r#"{"MODEL":"n","messages":[]}"#, Some("model")),
            (r#"{"model":"m","messages":[],"Stream":true}"#, Some("stream")),
            (
                "{\"model\":\"m\",\"messages\":[],\"\u{17f}tream\":true}",
                Some("stream"),
            ),
            (
                r#"{"model":"m","messages":[],"stream":true,"Stream_Options":{}}"#,
                Some("stream_options"),
            ),
            (
                r#"{"model":"m","messages":[],"stream":true,"stream_options":{"Include_Usage":false}}"#,
                Some("include_usage"),
            ),
            (r#"{"model":"m","messages":[],"Messages":[]}"#, Some("messages")),
            (r#"{"model":"m","messages":[],"messages":[]}"#, Some("messages")),
        ] {
            let error = Call::read(Capability::Chat, Bytes::from(body)).unwrap_err();
            assert_eq!((error.status, error.param.as_deref()), (400, param), "{body}");
        }
        let deep = format!(
            r#"{{"model":"m","messages":{}{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(Call::read(Capability::Chat, Bytes::from(deep)).is_err());
        assert!(
            Call::read(
                Capability::Embeddings,
                Bytes::from_static(br#"{"model":"m","input":7}"#)
            )
            .is_err()
        );
    }

    #[test]
    fn a_picture_does_not_count_as_text() {
        let picture = "A".repeat(1 << 20);
        let message = json!({"role": "user", "content": [
            {"type": "text", "text": "twelve chars"},
            {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{picture}")}}]});
        let body = json!({"model": "m", "messages": [message]}).to_string();
        let call = Call::read(Capability::Chat, body.into()).unwrap();
        assert!(call.estimated_input < 100, "{}", call.estimated_input);
    }

    proptest! {
        #[test]
        fn a_vendor_gets_what_the_caller_sent_with_another_model(
            extra in proptest::collection::btree_map("x[a-z]{0,4}", "\\PC{0,12}", 0..4),
            model in "\\PC{1,12}",
            target in "\\PC{1,12}",
            stream in any::<bool>(),
        ) {
            let mut value = json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream});
            for (name, text) in extra {
                value[name] = text.into();
            }
            let call = Call::read(Capability::Chat, Bytes::from(value.to_string())).unwrap();
            prop_assert_eq!(&call.model, &model);
            let got: Value = serde_json::from_slice(&call.for_vendor(&target).concat()).unwrap();
            value["model"] = target.into();
            if stream {
                value["stream_options"] = json!({"include_usage": true});
            }
            prop_assert_eq!(got, value);
        }
    }
}
