//! OpenAI's chat request, as strictly as OpenAI reads it, and what the vendors who took it over have of their own.

use serde_json::Value;

use super::{
    chat::{Asked, Choice, Tool},
    shape::{Checked, Object, Picture, invalid},
    wire::Request,
};

/// What a vendor adds to OpenAI's fields, and what it does not know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields {
    pub(super) more: &'static [&'static str],
    pub(super) unknown: &'static [&'static str],
}

/// Fields of OpenAI's whose values are of no interest here.
const OTHER: [&str; 19] = [
    "user",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "reasoning_effort",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "modalities",
    "audio",
    "verbosity",
    "prediction",
    "web_search_options",
    "functions",
    "function_call",
    "n",
    "safe_prompt",
];

pub(super) fn read(request: &Request, fields: Fields, mistral: bool) -> Checked<Asked> {
    let body = request.json()?;
    let mut object = Object::of(&body, "")?;
    if let Some(name) = object.set(fields.unknown) {
        return invalid(name, "Extra inputs are not permitted");
    }
    let mut asked = Asked {
        model: object.text("model")?.to_owned(),
        stream: object.flag("stream", false)?,
        temperature: object.within("temperature", 0.0, 2.0)?,
        top_p: object.within("top_p", 0.0, 1.0)?,
        serial: !object.flag("parallel_tool_calls", true)?,
        stop: stop(&mut object)?,
        ..Asked::default()
    };
    let newer = object.maybe_count("max_completion_tokens")?;
    asked.max_tokens = object.maybe_count("max_tokens")?.or(newer);
    asked.seed = object.maybe_integer("seed")?;
    if mistral {
        asked.seed = object.maybe_integer("random_seed")?;
    }
    object.within("presence_penalty", -2.0, 2.0)?;
    object.within("frequency_penalty", -2.0, 2.0)?;
    if let Some(mut options) = object.maybe_object("stream_options")? {
        if !asked.stream {
            return invalid("stream_options", "only allowed when stream is enabled");
        }
        asked.usage = options.flag("include_usage", false)?;
        options.skip(&["include_obfuscation"]);
        options.close()?;
    }
    asked.tools = tools(object.maybe_list("tools")?)?;
    asked.choice = choice(object.any("tool_choice"), &asked.tools, mistral)?;
    asked.json = format(&mut object)?;
    if let Some(mut thinking) = object.maybe_object("thinking")? {
        asked.thinking = thinking.one_of("type", &["enabled", "disabled"])? == Some("enabled");
    }
    object.skip(&OTHER);
    object.skip(fields.more);
    messages(object.list("messages")?, &mut asked)?;
    object.close()?;
    Ok(asked)
}

fn stop(object: &mut Object) -> Checked<Vec<String>> {
    match object.any("stop") {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(_) => object.texts("stop"),
    }
}

/// Tools in OpenAI's shape, which several others use too.
pub(super) fn tools(list: &[Value]) -> Checked<Vec<Tool>> {
    let one = |(at, tool): (usize, &Value)| {
        let mut tool = Object::of(tool, format!("tools[{at}]"))?;
        if tool.one_of("type", &["function"])?.is_none() {
            return invalid(tool.path("type"), "Field required");
        }
        let mut function = tool.object("function")?;
        let name = function.text("name")?.to_owned();
        function.maybe_text("description")?;
        function.flag("strict", false)?;
        let schema = function.any("parameters").cloned().unwrap_or_default();
        if !schema.is_null() && !schema.is_object() {
            return invalid(function.path("parameters"), "must be a schema");
        }
        function.close()?;
        tool.close()?;
        Ok(Tool { name, schema })
    };
    list.iter().enumerate().map(one).collect()
}

fn choice(value: Option<&Value>, tools: &[Tool], mistral: bool) -> Checked<Choice> {
    let required = if mistral { "any" } else { "required" };
    match value {
        None => Ok(Choice::Auto),
        Some(_) if tools.is_empty() => invalid("tool_choice", "only allowed when tools are specified"),
        Some(Value::String(word)) if word == "auto" => Ok(Choice::Auto),
        Some(Value::String(word)) if word == "none" => Ok(Choice::None),
        Some(Value::String(word)) if word == required => Ok(Choice::Required),
        Some(Value::String(_)) => invalid("tool_choice", "is none of the choices"),
        Some(value) => {
            let mut named = Object::of(value, "tool_choice")?;
            named.one_of("type", &["function"])?;
            let name = named.object("function")?.text("name")?.to_owned();
            if tools.iter().all(|tool| tool.name != name) {
                return invalid("tool_choice", "names no tool");
            }
            Ok(Choice::Named(name))
        }
    }
}

fn format(object: &mut Object) -> Checked<Option<Value>> {
    let Some(mut format) = object.maybe_object("response_format")? else {
        return Ok(None);
    };
    match format.one_of("type", &["text", "json_object", "json_schema"])? {
        Some("json_object") => Ok(Some(Value::Null)),
        Some("json_schema") => {
            let mut schema = format.object("json_schema")?;
            schema.text("name")?;
            let inner = schema.any("schema").cloned().unwrap_or_default();
            schema.flag("strict", false)?;
            schema.maybe_text("description")?;
            schema.skip(&["schema_definition"]);
            schema.close()?;
            format.close()?;
            Ok(Some(inner))
        }
        Some(_) => Ok(None),
        None => invalid("response_format.type", "Field required"),
    }
}

fn messages(list: &[Value], asked: &mut Asked) -> Checked<()> {
    let mut open_calls: Vec<String> = Vec::new();
    asked.messages = list.len();
    for (at, message) in list.iter().enumerate() {
        let mut message = Object::of(message, format!("messages[{at}]"))?;
        let role = message.text("role")?;
        message.maybe_text("name")?;
        match role {
            "system" | "developer" => {
                let text = content(&mut message, &mut Vec::new())?;
                asked.says(&text);
            }
            "user" => {
                asked.pictures.clear();
                let text = content(&mut message, &mut asked.pictures)?;
                asked.hears(&text);
            }
            "assistant" => assistant(&mut message, &mut open_calls)?,
            "tool" => {
                let id = message.text("tool_call_id")?;
                if !open_calls.iter().any(|open| open == id) {
                    return invalid(message.path("tool_call_id"), "answers no call of the message before");
                }
                let text = content(&mut message, &mut Vec::new())?;
                asked.results.push(text);
            }
            _ => return invalid(message.path("role"), "is no role"),
        }
        message.close()?;
    }
    Ok(())
}

fn assistant(message: &mut Object, open_calls: &mut Vec<String>) -> Checked<()> {
    let calls = message.maybe_list("tool_calls")?;
    message.skip(&["refusal", "audio", "function_call", "reasoning_content", "prefix"]);
    let path = message.path("tool_calls");
    if calls.is_empty() || message.set(&["content"]).is_some() {
        content(message, &mut Vec::new())?;
    } else {
        message.skip(&["content"]);
    }
    open_calls.clear();
    for (at, call) in calls.iter().enumerate() {
        let mut call = Object::of(call, format!("{path}[{at}]"))?;
        open_calls.push(call.text("id")?.to_owned());
        call.one_of("type", &["function"])?;
        call.skip(&["index"]);
        let mut function = call.object("function")?;
        function.text("name")?;
        let arguments = function.text("arguments")?;
        if serde_json::from_str::<Value>(arguments).is_err() {
            return invalid(function.path("arguments"), "must be JSON");
        }
        function.close()?;
        call.close()?;
    }
    Ok(())
}

/// A text, or parts of which texts are joined and pictures kept.
fn content(message: &mut Object, pictures: &mut Vec<Picture>) -> Checked<String> {
    let path = message.path("content");
    let parts = match message.any("content") {
        Some(Value::String(text)) => return Ok(text.clone()),
        Some(Value::Array(parts)) if !parts.is_empty() => parts,
        _ => return invalid(path, "must be a text or a list of parts"),
    };
    let mut texts = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let mut part = Object::of(part, format!("{path}[{at}]"))?;
        match part.text("type")? {
            "text" => texts.push(part.text("text")?),
            "image_url" => {
                let mut image = part.object("image_url")?;
                let field = image.path("url");
                pictures.push(Picture::of_url(image.text("url")?, &field)?);
                image.one_of("detail", &["auto", "low", "high"])?;
                image.close()?;
            }
            _ => return invalid(part.path("type"), "is no kind of part"),
        }
        part.close()?;
    }
    Ok(texts.join("\n"))
}
