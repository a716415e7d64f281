//! Gemini: what its SDK is told in Google's words, as a caller says it in OpenAI's.

use std::collections::VecDeque;

use resource_gateway::domain::{
    interface::Capability,
    vendor::{BaseUrl, Vendor},
};
use serde_json::{Map, Value, json};

use super::openai;
use crate::suite::{Errand, Fixture, Suite};

pub(crate) fn play(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    let request = fixture.request();
    let path = request.get("path").and_then(Value::as_str).unwrap_or_default();
    let mut vendor = openai::vendor(fixture, "gemini")?;
    if vendor.base_url.is_none() && path.starts_with("/v1beta/") {
        let host = request.get("host").and_then(Value::as_str).unwrap_or_default();
        let url = BaseUrl::parse(&format!("https://{host}/v1beta"));
        vendor.base_url = Some(url.map_err(|error| error.to_string())?);
    }
    let params = fixture.params();
    if path.ends_with("/models") {
        let asked = params.pointer("/config/page_size").and_then(Value::as_u64);
        // The SDK asks for fifty.
        let limit = asked.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(50);
        return suite.models(fixture, vendor, Some(limit));
    }
    let mut errand = match path.rsplit(':').next() {
        Some("batchEmbedContents" | "embedContent") => embeddings(vendor, &params),
        _ => chat(vendor, &params)?,
    };
    errand.tolerances = tolerances;
    if path.ends_with(":countTokens") {
        return suite.count_tokens(fixture, &errand);
    }
    suite.call(fixture, errand)
}

/// What the vendor's file says is the same.
fn tolerances(body: &mut Value) {
    match body {
        Value::Object(members) => {
            if members
                .get("generationConfig")
                .is_some_and(|config| *config == json!({}))
            {
                members.remove("generationConfig");
            }
            if let Some(instruction) = members.get_mut("systemInstruction").and_then(Value::as_object_mut) {
                instruction.remove("role");
            }
            if let Some(content) = members.get_mut("content").and_then(Value::as_object_mut) {
                content.remove("role");
            }
            if let Some(blob) = members.get_mut("inlineData").and_then(Value::as_object_mut) {
                if let Some(kind) = blob.remove("mime_type") {
                    blob.insert("mimeType".to_owned(), kind);
                }
                if let Some(data) = blob.get("data").and_then(Value::as_str).map(standard) {
                    blob.insert("data".to_owned(), json!(data));
                }
            }
            members.values_mut().for_each(tolerances);
        }
        Value::Array(all) => all.iter_mut().for_each(tolerances),
        _ => {}
    }
}

/// Base64 in the standard alphabet.
fn standard(text: &str) -> String {
    text.replace('-', "+").replace('_', "/")
}

fn model(params: &Value) -> &str {
    params.get("model").and_then(Value::as_str).unwrap_or_default()
}

/// The value of a member whose name may be written in either way.
fn member<'a>(object: &'a Value, snake: &str) -> Option<&'a Value> {
    let found = object.get(snake).or_else(|| object.get(camel(snake)));
    found.filter(|value| !value.is_null())
}

fn camel(snake: &str) -> String {
    let mut words = snake.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}

/// With all names of members as they are on the wire.
fn camelled(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().filter(|(_, value)| !value.is_null());
            Value::Object(members.map(|(name, value)| (camel(name), camelled(value))).collect())
        }
        Value::Array(all) => all.iter().map(camelled).collect(),
        other => other.clone(),
    }
}

/// The same for a schema, whose properties have names of their own.
fn schema(value: &Value) -> Value {
    let Value::Object(members) = value else {
        return value.clone();
    };
    let members = members.iter().filter(|(_, value)| !value.is_null());
    let members = members.map(|(name, value)| {
        let name = camel(name);
        let value = match (name.as_str(), value) {
            ("properties", Value::Object(all)) => {
                let all = all.iter().map(|(name, value)| (name.clone(), schema(value)));
                Value::Object(all.collect())
            }
            ("items", value) => schema(value),
            ("anyOf", Value::Array(all)) => all.iter().map(schema).collect(),
            (_, value) => value.clone(),
        };
        (name, value)
    });
    Value::Object(members.collect())
}

fn embeddings(vendor: Vendor, params: &Value) -> Errand {
    let contents = member(params, "contents").or(member(params, "content")).cloned();
    let input = match contents.unwrap_or_default() {
        Value::Array(all) => all.iter().map(|content| json!(texts_of(content))).collect(),
        one => json!(texts_of(&one)),
    };
    let mut body = Map::from_iter([("input".to_owned(), input)]);
    let config = params.get("config").and_then(Value::as_object);
    for (name, value) in config.into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        match camel(name).as_str() {
            "outputDimensionality" => drop(body.insert("dimensions".to_owned(), value.clone())),
            "httpOptions" => {}
            name => drop(body.insert(name.to_owned(), value.clone())),
        }
    }
    Errand::json(vendor, Capability::Embeddings, model(params), body.into())
}

fn texts_of(content: &Value) -> String {
    if let Some(text) = content.as_str().or_else(|| content.get("text")?.as_str()) {
        return text.to_owned();
    }
    let parts = content.get("parts").and_then(Value::as_array).into_iter().flatten();
    parts.filter_map(|part| part.get("text")?.as_str()).collect()
}

fn chat(vendor: Vendor, params: &Value) -> Result<Errand, String> {
    let mut talk = Talk::default();
    let config = params.get("config").unwrap_or(&Value::Null);
    if let Some(instruction) = member(config, "system_instruction") {
        let parts = content_parts(instruction);
        let content = match parts.as_slice() {
            [only] => json!(texts_of(only)),
            all => all
                .iter()
                .map(|part| json!({"type": "text", "text": texts_of(part)}))
                .collect(),
        };
        talk.messages.push(json!({"role": "system", "content": content}));
    }
    for (role, parts) in contents(member(params, "contents").unwrap_or(&Value::Null)) {
        talk.add(&role, &parts)?;
    }
    let mut body = Map::from_iter([("messages".to_owned(), talk.messages.into())]);
    configure(config, &mut body);
    if params.get("stream") == Some(&Value::Bool(true)) {
        body.insert("stream".to_owned(), true.into());
    }
    Ok(Errand::json(vendor, Capability::Chat, model(params), body.into()))
}

/// What the SDK makes of its argument: contents by role, however short they were written.
fn contents(given: &Value) -> Vec<(String, Vec<Value>)> {
    let user = |parts: Vec<Value>| ("user".to_owned(), parts);
    let role = |content: &Value| {
        let role = content.get("role").and_then(Value::as_str).unwrap_or("user");
        (role.to_owned(), content_parts(content))
    };
    match given {
        Value::Array(all) if all.iter().any(|one| one.get("parts").is_some()) => all.iter().map(role).collect(),
        Value::Array(all) => vec![user(all.iter().flat_map(content_parts).collect())],
        one if one.get("parts").is_some() => vec![role(one)],
        one => vec![user(content_parts(one))],
    }
}

fn content_parts(content: &Value) -> Vec<Value> {
    match content {
        Value::String(text) => vec![json!({"text": text})],
        Value::Array(all) => all.iter().flat_map(content_parts).collect(),
        content => match content.get("parts") {
            Some(Value::Array(parts)) => parts.iter().flat_map(content_parts).collect(),
            Some(one) => content_parts(one),
            None => vec![content.clone()],
        },
    }
}

/// A conversation on its way.
#[derive(Default)]
struct Talk {
    messages: Vec<Value>,
    /// Calls that wait for their answers, by name.
    open: VecDeque<(String, String)>,
    calls: u32,
}

impl Talk {
    fn add(&mut self, role: &str, parts: &[Value]) -> Result<(), String> {
        let mut said = Vec::new();
        let mut calls = Vec::new();
        for part in parts {
            if let Some(call) = member(part, "function_call") {
                calls.push(self.call(call, part));
            } else if let Some(answer) = member(part, "function_response") {
                let answer = self.answer(answer);
                self.messages.push(answer);
            } else {
                said.push(spoken(part)?);
            }
        }
        let role = if role == "model" { "assistant" } else { role };
        let content = match said.as_slice() {
            [] => Value::Null,
            [only] if only.get("type") == Some(&json!("text")) => only.get("text").cloned().unwrap_or_default(),
            all => all.into(),
        };
        if !calls.is_empty() {
            self.messages
                .push(json!({"role": role, "content": content, "tool_calls": calls}));
        } else if !content.is_null() {
            self.messages.push(json!({"role": role, "content": content}));
        }
        Ok(())
    }

    /// Callers have a name for every call: the vendor's, or one that the gateway made up.
    fn call(&mut self, call: &Value, part: &Value) -> Value {
        let name = call.get("name").and_then(Value::as_str).unwrap_or_default();
        let id = match call.get("id").and_then(Value::as_str) {
            Some(id) => id.to_owned(),
            None => resource_gateway::domain::chat::named_call(1, self.calls),
        };
        self.calls += 1;
        self.open.push_back((name.to_owned(), id.clone()));
        let arguments = call
            .get("args")
            .filter(|args| !args.is_null())
            .cloned()
            .unwrap_or(json!({}));
        let mut out =
            json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments.to_string()}});
        let signature = member(part, "thought_signature");
        let signature = signature.and_then(|signature| signature.get("base64").unwrap_or(signature).as_str());
        if let (Some(signature), Some(out)) = (signature, out.as_object_mut()) {
            let extra = json!({"google": {"thought_signature": signature}});
            out.insert("extra_content".to_owned(), extra);
        }
        out
    }

    fn answer(&mut self, answer: &Value) -> Value {
        let name = answer.get("name").and_then(Value::as_str).unwrap_or_default();
        let waits = self.open.iter().position(|(open, _)| open == name);
        let made = waits.and_then(|at| self.open.remove(at)).map(|(_, id)| id);
        let id = answer.get("id").and_then(Value::as_str).map(str::to_owned).or(made);
        let said = answer.get("response").unwrap_or(&Value::Null).to_string();
        json!({"role": "tool", "tool_call_id": id, "name": name, "content": said})
    }
}

/// A part that is no call and no answer to one.
fn spoken(part: &Value) -> Result<Value, String> {
    if let Some(text) = part.get("text").and_then(Value::as_str) {
        return Ok(json!({"type": "text", "text": text}));
    }
    if let Some(blob) = member(part, "inline_data") {
        let kind = member(blob, "mime_type").and_then(Value::as_str).unwrap_or_default();
        let data = blob
            .get("data")
            .and_then(|data| data.get("base64").unwrap_or(data).as_str());
        let data = standard(data.unwrap_or_default());
        return Ok(match kind.split_once('/') {
            Some(("image", _)) => {
                json!({"type": "image_url", "image_url": {"url": format!("data:{kind};base64,{data}")}})
            }
            Some(("audio", format)) => {
                json!({"type": "input_audio", "input_audio": {"data": data, "format": format}})
            }
            _ => json!({"type": "file", "file": {"file_data": format!("data:{kind};base64,{data}")}}),
        });
    }
    let file = member(part, "file_data");
    match file.and_then(|file| member(file, "file_uri")) {
        Some(url) => {
            let kind = file.and_then(|file| member(file, "mime_type")?.as_str());
            Ok(match kind.filter(|kind| !kind.starts_with("image/")) {
                Some(kind) => json!({"type": "file", "file": {"file_url": url, "format": kind}}),
                None => json!({"type": "image_url", "image_url": {"url": url, "format": kind}}),
            })
        }
        None => Err(format!("no caller can say {part}")),
    }
}

/// `config`, and what of it callers have words for.
fn configure(config: &Value, body: &mut Map<String, Value>) {
    const SAME: [(&str, &str); 11] = [
        ("temperature", "temperature"),
        ("topP", "top_p"),
        ("topK", "top_k"),
        ("maxOutputTokens", "max_tokens"),
        ("stopSequences", "stop"),
        ("candidateCount", "n"),
        ("seed", "seed"),
        ("presencePenalty", "presence_penalty"),
        ("frequencyPenalty", "frequency_penalty"),
        ("responseLogprobs", "logprobs"),
        ("logprobs", "top_logprobs"),
    ];
    let members = config.as_object().into_iter().flatten();
    for (name, value) in members.filter(|(_, value)| !value.is_null()) {
        let name = camel(name);
        if let Some((_, ours)) = SAME.iter().find(|(theirs, _)| *theirs == name) {
            body.insert((*ours).to_owned(), value.clone());
            continue;
        }
        match name.as_str() {
            // Read elsewhere, or the SDK's own business.
            "systemInstruction"
            | "responseMimeType"
            | "responseSchema"
            | "automaticFunctionCalling"
            | "httpOptions" => {}
            "tools" => drop(body.insert("tools".to_owned(), tools(value))),
            "toolConfig" => match tool_choice(value) {
                Some(choice) => drop(body.insert("tool_choice".to_owned(), choice)),
                None => drop(body.insert(name, camelled(value))),
            },
            "thinkingConfig" => match thinking(value) {
                Some(thinking) => drop(body.insert("thinking".to_owned(), thinking)),
                None => drop(body.insert(name, camelled(value))),
            },
            "responseJsonSchema" => drop(body.insert(name, value.clone())),
            _ => drop(body.insert(name, camelled(value))),
        }
    }
    let kind = member(config, "response_mime_type").and_then(Value::as_str);
    match (kind, member(config, "response_schema").map(schema)) {
        (Some("application/json"), Some(schema)) => {
            let format = json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}});
            body.insert("response_format".to_owned(), format);
        }
        (Some("application/json"), None) => {
            body.insert("response_format".to_owned(), json!({"type": "json_object"}));
        }
        (Some("text/plain"), None) => drop(body.insert("response_format".to_owned(), json!({"type": "text"}))),
        (kind, schema) => {
            body.extend(kind.map(|kind| ("responseMimeType".to_owned(), json!(kind))));
            body.extend(schema.map(|schema| ("responseSchema".to_owned(), schema)));
        }
    }
}

fn tools(sets: &Value) -> Value {
    let sets = sets.as_array().into_iter().flatten();
    let declared = sets.filter_map(|set| member(set, "function_declarations")?.as_array());
    let functions = declared.flatten().map(|declared| {
        let mut function = Map::new();
        for name in ["name", "description"] {
            function.extend(declared.get(name).map(|value| (name.to_owned(), value.clone())));
        }
        let parameters = member(declared, "parameters").map(schema);
        let parameters = parameters.or_else(|| member(declared, "parameters_json_schema").cloned());
        function.extend(parameters.map(|parameters| ("parameters".to_owned(), parameters)));
        json!({"type": "function", "function": function})
    });
    functions.collect()
}

/// `None` where there is no word for it.
fn tool_choice(config: &Value) -> Option<Value> {
    let calling = member(config, "function_calling_config")?;
    let names = member(calling, "allowed_function_names").and_then(Value::as_array);
    match (calling.get("mode")?.as_str()?, names.map_or(&[][..], Vec::as_slice)) {
        ("AUTO", []) => Some(json!("auto")),
        ("NONE", []) => Some(json!("none")),
        ("ANY", []) => Some(json!("required")),
        ("ANY", [name]) => Some(json!({"type": "function", "function": {"name": name}})),
        _ => None,
    }
}

/// `None` where there is no word for it.
fn thinking(config: &Value) -> Option<Value> {
    if member(config, "thinking_level").is_some() {
        return None;
    }
    let shown = member(config, "include_thoughts").and_then(Value::as_bool);
    let budget = match member(config, "thinking_budget") {
        Some(budget) => Some(budget.as_u64()?),
        None => None,
    };
    match (shown, budget) {
        (None, Some(0)) => Some(json!({"type": "disabled"})),
        (Some(true), None) => Some(json!({"type": "enabled"})),
        (Some(true), Some(budget)) => Some(json!({"type": "enabled", "budget_tokens": budget})),
        _ => None,
    }
}
