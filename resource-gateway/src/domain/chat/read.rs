//! Reads a request as OpenAI writes it, with what other vendors' callers need beside it: `cache_control` on parts and tools,
//! `thinking_blocks`, `block_order` and `is_error` on messages, `top_k`, `thinking`.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    ChatRequest, Content, Format, Message, Part, PartKind, Reasoning, Role, Schema, Source, Text, Thought, Tool,
    ToolChoice, ToolUse, made_up_id, proofs,
};
use crate::domain::{
    fault::PublicError,
    json_object::{JsonError, JsonObject, MOST_MEMBERS, elements},
};

/// Of an assistant's message: its [`order`](Message::order).
pub const BLOCK_ORDER: &str = "block_order";

/// Members of OpenAI's requests that the neutral model has no field for. A vendor gets them only if its dialect knows them.
pub const OPENAI_WORDS: [&str; 13] = [
    "audio",
    "function_call",
    "functions",
    "logit_bias",
    "metadata",
    "modalities",
    "prediction",
    "prompt_cache_key",
    "service_tier",
    "store",
    "verbosity",
    "web_search_options",
    "prompt_cache_retention",
];

/// Members that are between the caller and the gateway, or read elsewhere.
const NOT_THE_MODELS: [&str; 4] = ["model", "stream_options", "conversation_id", "min_confidence"];

/// The kind of a tool, and the role of what it answered before there were others.
const FUNCTION: &str = "function";

pub(super) type Read<T> = Result<T, PublicError>;

/// An object on its way: what was asked for is taken out, and what is left is known.
pub(super) struct Fields<'a> {
    path: String,
    object: JsonObject<'a>,
    taken: Vec<bool>,
}

impl<'a> Fields<'a> {
    pub(super) fn parse(text: &'a str, path: impl Into<String>) -> Read<Self> {
        let path = path.into();
        let object = JsonObject::parse(text.as_bytes()).map_err(|error| match (error, path.as_str()) {
            (error @ JsonError::TooManyMembers, path) => json_error(path, error),
            (_, "") => wrong("", "the body must be a JSON object"),
            (_, path) => wrong(path, "must be an object"),
        })?;
        Ok(Self {
            taken: vec![false; object.members().len()],
            path,
            object,
        })
    }

    pub(super) fn at(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }

    /// The member as it is written; `null` is as good as absent.
    pub(super) fn raw(&mut self, name: &str) -> Read<Option<&'a str>> {
        let found = self
            .object
            .position(name)
            .map_err(|error| json_error(&self.at(name), error))?;
        let Some(at) = found else { return Ok(None) };
        if let Some(taken) = self.taken.get_mut(at) {
            *taken = true;
        }
        let value = self.object.members().get(at).map(|member| member.value);
        Ok(value.filter(|value| *value != "null"))
    }

    pub(super) fn text(&mut self, name: &str) -> Read<Option<Text<'a>>> {
        let Some(raw) = self.raw(name)? else { return Ok(None) };
        text(raw)
            .map(Some)
            .ok_or_else(|| wrong(&self.at(name), "must be a string"))
    }

    pub(super) fn required_text(&mut self, name: &str) -> Read<Text<'a>> {
        self.text(name)?.ok_or_else(|| missing(&self.at(name)))
    }

    pub(super) fn parsed<T: DeserializeOwned>(&mut self, name: &str, wanted: &str) -> Read<Option<T>> {
        let Some(raw) = self.raw(name)? else { return Ok(None) };
        serde_json::from_str(raw)
            .map(Some)
            .map_err(|_| wrong(&self.at(name), wanted))
    }

    pub(super) fn number(&mut self, name: &str) -> Read<Option<serde_json::Number>> {
        self.parsed(name, "must be a number")
    }

    pub(super) fn count(&mut self, name: &str) -> Read<Option<u64>> {
        self.parsed(name, "must be a whole number that is not negative")
    }

    pub(super) fn flag(&mut self, name: &str) -> Read<Option<bool>> {
        self.parsed(name, "must be true or false")
    }

    pub(super) fn list(&mut self, name: &str) -> Read<Vec<&'a str>> {
        let Some(raw) = self.raw(name)? else {
            return Ok(Vec::new());
        };
        elements(raw).map_err(|_| wrong(&self.at(name), "must be an array"))
    }

    /// What nobody asked for, as it is written.
    pub(super) fn rest_raw(&self) -> impl Iterator<Item = (&str, &'a str)> {
        let members = self.object.members().iter().zip(&self.taken);
        let rest = members.filter(|(_, taken)| !**taken);
        rest.map(|(member, _)| (member.name.as_ref(), member.value))
    }

    /// What nobody asked for.
    pub(super) fn rest(self) -> Read<Map<String, Value>> {
        let mut rest = Map::new();
        for (member, taken) in self.object.members().iter().zip(&self.taken) {
            if *taken {
                continue;
            }
            let path = if self.path.is_empty() {
                String::new()
            } else {
                format!("{}.", self.path)
            };
            let value = serde_json::from_str(member.value)
                .map_err(|_| wrong(&format!("{path}{}", member.name), "could not be read"))?;
            if rest.insert(member.name.clone().into_owned(), value).is_some() {
                return Err(wrong(&format!("{path}{}", member.name), "stands in the body twice"));
            }
        }
        Ok(rest)
    }
}

/// A JSON string, borrowed if it holds no escapes.
fn text(raw: &str) -> Option<Text<'_>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw).ok().map(Cow::Owned)
}

impl<'a> ChatRequest<'a> {
    /// Reads a request.
    ///
    /// # Errors
    /// What to tell the caller, with the field's path.
    pub fn read(body: &'a [u8]) -> Read<Self> {
        let body = std::str::from_utf8(body).map_err(|_| wrong("", "the body must be UTF-8"))?;
        let mut fields = Fields::parse(body, "")?;
        for name in NOT_THE_MODELS {
            fields.raw(name)?;
        }
        let messages = fields.list("messages")?.into_iter().enumerate();
        let mut called = None;
        let messages = messages.map(|(at, raw)| message(raw, at, &mut called));
        let tools = fields.list("tools")?.into_iter().enumerate();
        let tools = tools.map(|(at, raw)| tool(raw, format!("tools[{at}]")));
        let mut request = Self {
            messages: messages.collect::<Read<_>>()?,
            tools: tools.collect::<Read<_>>()?,
            tool_choice: tool_choice(&mut fields)?,
            parallel_tool_calls: fields.flag("parallel_tool_calls")?,
            format: format(&mut fields)?,
            // The newer name goes first, as with OpenAI.
            max_tokens: match (fields.count("max_completion_tokens")?, fields.count("max_tokens")?) {
                (Some(newer), _) => Some(newer),
                (None, older) => older,
            },
            temperature: fields.number("temperature")?,
            top_p: fields.number("top_p")?,
            top_k: fields.number("top_k")?,
            presence_penalty: fields.number("presence_penalty")?,
            frequency_penalty: fields.number("frequency_penalty")?,
            stop: stop(&mut fields)?,
            seed: fields.number("seed")?,
            n: fields.count("n")?,
            logprobs: fields.flag("logprobs")?,
            top_logprobs: fields.count("top_logprobs")?,
            user: match (fields.text("user")?, fields.text("safety_identifier")?) {
                (Some(user), _) => Some(user),
                (None, user) => user,
            },
            reasoning: reasoning(&mut fields)?,
            stream: fields.flag("stream")?.unwrap_or(false),
            openai: Map::new(),
            options: Map::new(),
        };
        for (name, value) in fields.rest()? {
            match OPENAI_WORDS.contains(&name.as_str()) {
                true if value.is_null() => {}
                true => drop(request.openai.insert(name, value)),
                false => drop(request.options.insert(name, value)),
            }
        }
        Ok(request)
    }
}

/// `called`: the call by which the assistant has asked for a function before calls had names, until it is answered.
fn message<'a>(raw: &'a str, at: usize, called: &mut Option<String>) -> Read<Message<'a>> {
    let mut fields = Fields::parse(raw, format!("messages[{at}]"))?;
    let role = fields.required_text("role")?;
    let is_functions = role == FUNCTION;
    let role = if is_functions { Role::Tool.as_str().into() } else { role };
    let role = Role::ALL.into_iter().find(|known| known.as_str() == role);
    let role = role.ok_or_else(|| wrong(&fields.at("role"), "must be system, developer, user, assistant or tool"))?;
    let calls = fields.list("tool_calls")?.into_iter().enumerate();
    let calls = calls.map(|(at, raw)| tool_use(raw, format!("{}[{at}]", fields.at("tool_calls"))));
    let mut tool_calls = calls.collect::<Read<Vec<_>>>()?;
    let mut tool_call_id = fields.text("tool_call_id")?;
    // Servers that write both words say the same thing by them.
    if let Some(raw) = fields.raw("function_call")?
        && tool_calls.is_empty()
    {
        let (name, arguments) = function(raw, fields.at("function_call"))?;
        // Of such calls a message has one, and a conversation has a message in each place.
        let id = made_up_id(at);
        *called = Some(id.clone());
        tool_calls.push(ToolUse {
            id: Some(id.into()),
            name,
            arguments,
            signature: None,
        });
    }
    if is_functions {
        let id = called.take();
        let id = id.ok_or_else(|| wrong(&fields.at("role"), "is function, and no function was called before"))?;
        tool_call_id = Some(id.into());
    }
    let content = match fields.raw("content")? {
        None => Content::None,
        Some(raw) => content(raw, &fields.at("content"))?,
    };
    let mut message = Message {
        role,
        content,
        name: fields.text("name")?,
        tool_calls,
        tool_call_id,
        is_error: fields.flag("is_error")?.unwrap_or(false),
        thoughts: thoughts(&mut fields)?,
        order: fields
            .parsed(BLOCK_ORDER, "must be a list of thought, part and call")?
            .unwrap_or_default(),
        refusal: fields.text("refusal")?,
        audio: fields.parsed("audio", "could not be read")?,
        cache: fields.parsed("cache_control", "must be an object")?,
    };
    proofs::give_back(&mut message);
    Ok(message)
}

fn content<'a>(raw: &'a str, path: &str) -> Read<Content<'a>> {
    if let Some(text) = text(raw) {
        return Ok(Content::Text(text));
    }
    let parts = elements(raw).map_err(|_| wrong(path, "must be a string or an array of parts"))?;
    let parts = parts.into_iter().enumerate();
    let parts = parts.map(|(at, raw)| part(raw, format!("{path}[{at}]")));
    Ok(Content::Parts(parts.collect::<Read<_>>()?))
}

fn part(raw: &str, path: String) -> Read<Part<'_>> {
    let mut fields = Fields::parse(raw, path)?;
    let kind = fields.required_text("type")?;
    let kind = match kind.as_ref() {
        "text" | "input_text" | "output_text" => PartKind::Text(fields.required_text("text")?),
        "refusal" => PartKind::Text(fields.required_text("refusal")?),
        "image_url" => image(&mut fields)?,
        "input_audio" => {
            let raw = fields
                .raw("input_audio")?
                .ok_or_else(|| missing(&fields.at("input_audio")))?;
            let mut audio = Fields::parse(raw, fields.at("input_audio"))?;
            PartKind::Audio {
                data: audio.required_text("data")?,
                format: audio.required_text("format")?,
            }
        }
        "file" => file(&mut fields)?,
        other => {
            let known = "must be text, image_url, input_audio or file";
            return Err(wrong(&fields.at("type"), &format!("{known}, not {:?}", clipped(other))));
        }
    };
    Ok(Part {
        kind,
        cache: fields.parsed("cache_control", "must be an object")?,
    })
}

fn image<'a>(fields: &mut Fields<'a>) -> Read<PartKind<'a>> {
    let raw = fields
        .raw("image_url")?
        .ok_or_else(|| missing(&fields.at("image_url")))?;
    // Some servers take the bare URL.
    let (url, detail, format) = if let Some(url) = text(raw) {
        (url, None, None)
    } else {
        let mut image = Fields::parse(raw, fields.at("image_url"))?;
        (
            image.required_text("url")?,
            image.text("detail")?,
            image.text("format")?,
        )
    };
    let source = source(url, format).map_err(|why| wrong(&fields.at("image_url.url"), why))?;
    Ok(PartKind::Image { source, detail })
}

fn file<'a>(fields: &mut Fields<'a>) -> Read<PartKind<'a>> {
    let raw = fields.raw("file")?.ok_or_else(|| missing(&fields.at("file")))?;
    let mut file = Fields::parse(raw, fields.at("file"))?;
    let name = file.text("filename")?;
    let url = match file.text("file_data")? {
        Some(data) => data,
        None => file.text("file_url")?.ok_or_else(|| missing(&file.at("file_data")))?,
    };
    let source = source(url, file.text("format")?).map_err(|why| wrong(&file.at("file_data"), why))?;
    Ok(PartKind::Document { source, name })
}

/// A media type beside a data URL is the one in it, or wrong.
fn source<'a>(url: Text<'a>, media_type: Option<Text<'a>>) -> Result<Source<'a>, &'static str> {
    if !url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
        let known = ["https://", "http://", STORE]
            .iter()
            .any(|begin| url.starts_with(begin));
        return match known {
            true => Ok(Source::Url { url, media_type }),
            false => Err("must be an http, https or data URL"),
        };
    }
    match url {
        Cow::Borrowed(url) => {
            let (media_type, data) = data_url(url).ok_or(NOT_BASE64)?;
            Ok(Source::Base64 {
                media_type: media_type.into(),
                data: data.into(),
            })
        }
        Cow::Owned(url) => {
            let (media_type, data) = data_url(&url).ok_or(NOT_BASE64)?;
            Ok(Source::Base64 {
                media_type: media_type.to_owned().into(),
                data: data.to_owned().into(),
            })
        }
    }
}

/// Google's storage, which only Google looks at.
pub const STORE: &str = "gs://";
const NOT_BASE64: &str = "must be a data URL with a media type and base64 (RFC 2397)";

/// The media type and the base64 of a data URL (RFC 2397).
pub fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.get(5..)?.split_once(',')?;
    let (media_type, _) = head.rsplit_once(";base64").filter(|(_, rest)| rest.is_empty())?;
    let media_type = media_type.split(';').next()?;
    Some((
        if media_type.is_empty() {
            "text/plain"
        } else {
            media_type
        },
        data,
    ))
}

fn tool_use(raw: &str, path: String) -> Read<ToolUse<'_>> {
    let mut fields = Fields::parse(raw, path)?;
    let id = fields.text("id")?;
    let signature = signature(&mut fields)?;
    let raw = fields.raw(FUNCTION)?.ok_or_else(|| missing(&fields.at(FUNCTION)))?;
    let (name, arguments) = function(raw, fields.at(FUNCTION))?;
    Ok(ToolUse {
        id,
        name,
        arguments,
        signature,
    })
}

/// The name and the arguments of a function that is called.
fn function(raw: &str, path: String) -> Read<(Text<'_>, Text<'_>)> {
    let mut function = Fields::parse(raw, path)?;
    let name = function.required_text("name")?;
    // Some clients send the object itself.
    let arguments = match function.raw("arguments")? {
        None => Cow::Borrowed("{}"),
        Some(raw) => text(raw).unwrap_or(Cow::Borrowed(raw)),
    };
    Ok((name, arguments))
}

/// Google's own name for it in its OpenAI-shaped API, which is where callers' libraries keep it.
fn signature<'a>(fields: &mut Fields<'a>) -> Read<Option<Text<'a>>> {
    let Some(raw) = fields.raw("extra_content")? else {
        return Ok(None);
    };
    let mut extra = Fields::parse(raw, fields.at("extra_content"))?;
    let Some(raw) = extra.raw("google")? else {
        return Ok(None);
    };
    Fields::parse(raw, extra.at("google"))?.text("thought_signature")
}

fn thoughts<'a>(fields: &mut Fields<'a>) -> Read<Vec<Thought<'a>>> {
    let blocks = fields.list("thinking_blocks")?;
    let plain = fields.text("reasoning_content")?;
    if blocks.is_empty() {
        let plain = plain.filter(|text| !text.is_empty());
        let plain = plain.map(|text| Thought::Text { text, signature: None });
        return Ok(plain.into_iter().collect());
    }
    let path = fields.at("thinking_blocks");
    let blocks = blocks.into_iter().enumerate().map(|(at, raw)| {
        let mut block = Fields::parse(raw, format!("{path}[{at}]"))?;
        match block.required_text("type")?.as_ref() {
            "thinking" => Ok(Thought::Text {
                text: block.text("thinking")?.unwrap_or_default(),
                // Vendors without proofs have an empty one.
                signature: block.text("signature")?.filter(|proof| !proof.is_empty()),
            }),
            "redacted_thinking" => Ok(Thought::Redacted(block.required_text("data")?)),
            _ => Err(wrong(&block.at("type"), "must be thinking or redacted_thinking")),
        }
    });
    blocks.collect()
}

fn tool(raw: &str, path: String) -> Read<Tool<'_>> {
    let mut fields = Fields::parse(raw, path)?;
    let kind = fields.text("type")?;
    if kind.is_some_and(|kind| kind != "function") {
        return Err(wrong(&fields.at("type"), "must be function"));
    }
    let cache = fields.parsed("cache_control", "must be an object")?;
    let raw = fields.raw("function")?.ok_or_else(|| missing(&fields.at("function")))?;
    let mut function = Fields::parse(raw, fields.at("function"))?;
    Ok(Tool {
        name: function.required_text("name")?,
        description: function.text("description")?,
        parameters: function.raw("parameters")?.map(Schema::of),
        strict: function.flag("strict")?,
        cache,
    })
}

fn tool_choice<'a>(fields: &mut Fields<'a>) -> Read<Option<ToolChoice<'a>>> {
    let Some(raw) = fields.raw("tool_choice")? else {
        return Ok(None);
    };
    let path = fields.at("tool_choice");
    let unknown = || wrong(&path, "must be none, auto, required or a function");
    if let Some(word) = text(raw) {
        return match word.as_ref() {
            "auto" => Ok(Some(ToolChoice::Auto)),
            "none" => Ok(Some(ToolChoice::None)),
            // Mistral's word for it.
            "required" | "any" => Ok(Some(ToolChoice::Required)),
            _ => Err(unknown()),
        };
    }
    let mut choice = Fields::parse(raw, path.as_str())?;
    let Some(raw) = choice.raw("function")? else {
        return Err(unknown());
    };
    let name = Fields::parse(raw, choice.at("function"))?.required_text("name")?;
    Ok(Some(ToolChoice::Named(name)))
}

fn format<'a>(fields: &mut Fields<'a>) -> Read<Option<Format<'a>>> {
    let Some(raw) = fields.raw("response_format")? else {
        return Ok(None);
    };
    let mut format = Fields::parse(raw, fields.at("response_format"))?;
    match format.required_text("type")?.as_ref() {
        "text" => Ok(Some(Format::Text)),
        "json_object" => Ok(Some(Format::JsonObject)),
        "json_schema" => {
            let raw = format
                .raw("json_schema")?
                .ok_or_else(|| missing(&format.at("json_schema")))?;
            let mut schema = Fields::parse(raw, format.at("json_schema"))?;
            Ok(Some(Format::JsonSchema {
                name: schema.text("name")?.unwrap_or(Cow::Borrowed("answer")),
                description: schema.text("description")?,
                schema: schema
                    .parsed("schema", "must be a JSON schema")?
                    .ok_or_else(|| missing(&schema.at("schema")))?,
                strict: schema.flag("strict")?,
            }))
        }
        _ => Err(wrong(&format.at("type"), "must be text, json_object or json_schema")),
    }
}

fn stop<'a>(fields: &mut Fields<'a>) -> Read<Vec<Text<'a>>> {
    let Some(raw) = fields.raw("stop")? else {
        return Ok(Vec::new());
    };
    let path = fields.at("stop");
    if let Some(one) = text(raw) {
        return Ok(vec![one]);
    }
    let wanted = || wrong(&path, "must be a string or an array of strings");
    let all = elements(raw).map_err(|_| wanted())?;
    all.into_iter().map(|raw| text(raw).ok_or_else(wanted)).collect()
}

fn reasoning<'a>(fields: &mut Fields<'a>) -> Read<Option<Reasoning<'a>>> {
    let effort = fields.text("reasoning_effort")?;
    let Some(raw) = fields.raw("thinking")? else {
        return Ok(effort.map(|effort| Reasoning {
            effort: Some(effort),
            ..Reasoning::default()
        }));
    };
    let mut thinking = Fields::parse(raw, fields.at("thinking"))?;
    let (enabled, open) = match thinking.required_text("type")?.as_ref() {
        "enabled" | "adaptive" => (Some(true), false),
        "disabled" => (Some(false), false),
        "auto" => (None, true),
        _ => {
            return Err(wrong(
                &thinking.at("type"),
                "must be enabled, adaptive, auto or disabled",
            ));
        }
    };
    Ok(Some(Reasoning {
        effort,
        budget: thinking.count("budget_tokens")?,
        enabled,
        open,
        display: thinking.text("display")?,
    }))
}

fn clipped(text: &str) -> String {
    text.chars().take(40).collect()
}

fn json_error(path: &str, error: JsonError) -> PublicError {
    match error {
        JsonError::Malformed(_) => wrong(path, "could not be read"),
        JsonError::TooManyMembers if path.is_empty() => wrong("", &error.to_string()),
        JsonError::TooManyMembers => wrong(path, &format!("has more than {MOST_MEMBERS} members")),
        JsonError::Duplicate(_) => wrong(path, "stands in the body twice"),
        JsonError::Respelt { .. } => wrong(path, "stands in the body in another spelling"),
    }
}

pub(super) fn missing(field: &str) -> PublicError {
    PublicError::invalid(
        Some(field),
        "missing_required_parameter",
        format!("The field '{field}' is required."),
    )
}

pub(super) fn wrong(field: &str, why: &str) -> PublicError {
    match field {
        "" => PublicError::invalid(None, "invalid_json", format!("Invalid request: {why}.")),
        field => PublicError::invalid(Some(field), "invalid_value", format!("The field '{field}' {why}.")),
    }
}
