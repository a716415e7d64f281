//! AWS Bedrock: Converse as a caller of ours says it, and what is invoked in the words of a model's family.

use resource_gateway::domain::{
    chat::messages_to_openai,
    interface::Capability,
    vendor::{SecretKey, Vendor},
};
use serde_json::{Map, Value, json};

use crate::suite::{Errand, Fixture, Suite};

pub(crate) fn play(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    let params = fixture.params();
    let model = params.get("modelId").and_then(Value::as_str).unwrap_or_default();
    let path = fixture
        .request()
        .get("path")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let operation = path.rsplit('/').next().unwrap_or_default();
    let errand = match operation {
        "converse" | "converse-stream" => {
            let body = converse(&params, operation == "converse-stream")?;
            Errand::json(vendor(fixture, "bedrock"), Capability::Chat, model, body)
        }
        "invoke" => {
            let body = params.get("body").cloned().unwrap_or(Value::Null);
            invoked(fixture, model, body)?
        }
        _ => return Err(format!("nothing is known of {path}")),
    };
    suite.call(fixture, errand)
}

/// The account of a fixture.
fn vendor(fixture: &Fixture, strategy: &str) -> Vendor {
    let mut vendor = Vendor::named("v", strategy);
    let region = fixture.input("region").unwrap_or("us-east-1");
    vendor.options.insert("region".to_owned(), region.to_owned());
    vendor.credential.secret_id = fixture.input("access_key_id").map(str::to_owned);
    let secret = fixture.secret_of("bedrock_api_key", "session_token");
    if let Some(secret) = secret.or(fixture.secret_of("secret_access_key", "session_token")) {
        vendor.credential.secret_key = SecretKey::Present(secret.into());
    }
    vendor
}

/// A model that makes vectors, or one of Anthropic's.
fn invoked(fixture: &Fixture, model: &str, body: Value) -> Result<Errand, String> {
    let Value::Object(mut members) = body else {
        return Err("the body is no object".to_owned());
    };
    if members.contains_key("anthropic_version") {
        // Without a name for its model it is no request of Anthropic's.
        members.insert("model".to_owned(), json!(model));
        let said = messages_to_openai(Value::Object(members).to_string().as_bytes());
        let said = said.map_err(|error| format!("translation: {error:?}"))?;
        let mut body: Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        if let Some(members) = body.as_object_mut() {
            members.remove("model");
        }
        let vendor = vendor(fixture, "bedrock-anthropic");
        return Ok(Errand::json(vendor, Capability::Chat, model, body));
    }
    for (theirs, ours) in [
        ("inputText", "input"),
        ("texts", "input"),
        ("output_dimension", "dimensions"),
    ] {
        if let Some(value) = members.remove(theirs) {
            members.insert(ours.to_owned(), value);
        }
    }
    if !members.contains_key("input") {
        return Err(format!("nothing is known of how {model} is invoked"));
    }
    let body = Value::Object(members);
    Ok(Errand::json(
        vendor(fixture, "bedrock"),
        Capability::Embeddings,
        model,
        body,
    ))
}

fn items<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// A request in OpenAI's words.
fn converse(params: &Value, stream: bool) -> Result<Value, String> {
    let mut messages = Vec::new();
    for block in items(params, "system") {
        match block.get("text") {
            Some(text) => messages.push(json!({"role": "system", "content": [{"type": "text", "text": text}]})),
            None => cache(messages.last_mut().and_then(|last| last.pointer_mut("/content/0")))?,
        }
    }
    for turn in items(params, "messages") {
        read_turn(turn, &mut messages)?;
    }
    let mut body = Map::from_iter([
        ("messages".to_owned(), messages.into()),
        ("stream".to_owned(), json!(stream)),
    ]);
    let config = [
        ("/inferenceConfig/maxTokens", "max_tokens"),
        ("/inferenceConfig/temperature", "temperature"),
        ("/inferenceConfig/topP", "top_p"),
        ("/inferenceConfig/stopSequences", "stop"),
    ];
    for (theirs, ours) in config {
        if let Some(value) = params.pointer(theirs) {
            body.insert(ours.to_owned(), value.clone());
        }
    }
    tools(params, &mut body)?;
    // What is the vendor's own goes by its own name.
    let known = ["modelId", "system", "messages", "inferenceConfig", "toolConfig"];
    for (name, value) in params.as_object().into_iter().flatten() {
        if !known.contains(&name.as_str()) {
            body.insert(name.clone(), value.clone());
        }
    }
    // But for what has a word here.
    if let Some(Value::Object(fields)) = body.get_mut("additionalModelRequestFields") {
        let named: Vec<_> = ["top_k", "thinking"]
            .iter()
            .filter_map(|name| fields.remove_entry(*name))
            .collect();
        if fields.is_empty() {
            body.remove("additionalModelRequestFields");
        }
        body.extend(named);
    }
    Ok(Value::Object(body))
}

fn cache(last: Option<&mut Value>) -> Result<(), String> {
    let last = last.and_then(Value::as_object_mut);
    let last = last.ok_or("a cache point behind nothing")?;
    last.insert("cache_control".to_owned(), json!({"type": "ephemeral"}));
    Ok(())
}

/// What a turn says, in the order in which it is said.
fn read_turn(turn: &Value, messages: &mut Vec<Value>) -> Result<(), String> {
    let role = turn.get("role").cloned().unwrap_or(Value::Null);
    let (mut parts, mut calls, mut thoughts) = (Vec::new(), Vec::new(), Vec::new());
    for block in items(turn, "content") {
        if let Some(part) = part(block) {
            parts.push(part);
        } else if block.get("cachePoint").is_some() {
            cache(parts.last_mut())?;
        } else if let Some(call) = block.get("toolUse") {
            let function = json!({"name": at(call, "/name"), "arguments": at(call, "/input").to_string()});
            calls.push(json!({"id": at(call, "/toolUseId"), "type": "function", "function": function}));
        } else if let Some(result) = block.get("toolResult") {
            if !parts.is_empty() {
                messages.push(json!({"role": role, "content": std::mem::take(&mut parts)}));
            }
            messages.push(tool_result(result)?);
        } else if let Some(thought) = block.get("reasoningContent") {
            thoughts.push(match thought.get("reasoningText") {
                Some(text) => json!({
                    "type": "thinking",
                    "thinking": at(text, "/text"),
                    "signature": at(text, "/signature"),
                }),
                None => json!({"type": "redacted_thinking", "data": bytes(at(thought, "/redactedContent"))}),
            });
        } else {
            return Err(format!("nothing is known of {block}"));
        }
    }
    let mut message = Map::from_iter([("role".to_owned(), role)]);
    for (name, found) in [("content", parts), ("tool_calls", calls), ("thinking_blocks", thoughts)] {
        if !found.is_empty() {
            message.insert(name.to_owned(), found.into());
        }
    }
    if message.len() > 1 {
        messages.push(Value::Object(message));
    }
    Ok(())
}

fn bytes(value: &Value) -> &str {
    value.get("base64").unwrap_or(value).as_str().unwrap_or_default()
}

fn part(block: &Value) -> Option<Value> {
    if let Some(text) = block.get("text") {
        return Some(json!({"type": "text", "text": text}));
    }
    let data = |media: &Value, kind: &str| format!("data:{kind};base64,{}", bytes(at(media, "/source/bytes")));
    if let Some(image) = block.get("image") {
        let format = at(image, "/format").as_str().unwrap_or_default();
        let url = data(image, &format!("image/{format}"));
        return Some(json!({"type": "image_url", "image_url": {"url": url}}));
    }
    let document = block.get("document")?;
    let kind = match at(document, "/format").as_str().unwrap_or_default() {
        "pdf" => "application/pdf",
        "csv" => "text/csv",
        "doc" => "application/msword",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xls" => "application/vnd.ms-excel",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "html" => "text/html",
        "md" => "text/markdown",
        _ => "text/plain",
    };
    let file = json!({"filename": at(document, "/name"), "file_data": data(document, kind)});
    Some(json!({"type": "file", "file": file}))
}

/// One object is the text of it; everything else stands in parts.
fn tool_result(result: &Value) -> Result<Value, String> {
    let blocks: Vec<_> = items(result, "content").collect();
    let content = match blocks.as_slice() {
        [only] if only.get("json").is_some_and(Value::is_object) => json!(at(only, "/json").to_string()),
        blocks => {
            let parts = blocks
                .iter()
                .map(|block| part(block).ok_or_else(|| format!("nothing is known of {block}")));
            parts.collect::<Result<Value, _>>()?
        }
    };
    let mut message = json!({"role": "tool", "tool_call_id": at(result, "/toolUseId"), "content": content});
    if at(result, "/status") == "error"
        && let Some(message) = message.as_object_mut()
    {
        message.insert("is_error".to_owned(), json!(true));
    }
    Ok(message)
}

fn tools(params: &Value, body: &mut Map<String, Value>) -> Result<(), String> {
    let config = at(params, "/toolConfig");
    let mut tools = Vec::new();
    for entry in items(config, "tools") {
        match entry.get("toolSpec") {
            Some(spec) => tools.push(json!({"type": "function", "function": {
                "name": at(spec, "/name"),
                "description": at(spec, "/description"),
                "parameters": at(spec, "/inputSchema/json"),
            }})),
            None => cache(tools.last_mut())?,
        }
    }
    if !tools.is_empty() {
        body.insert("tools".to_owned(), tools.into());
    }
    let choice = at(config, "/toolChoice");
    let choice = if choice.get("auto").is_some() {
        json!("auto")
    } else if choice.get("any").is_some() {
        json!("required")
    } else if let Some(tool) = choice.get("tool") {
        json!({"type": "function", "function": {"name": at(tool, "/name")}})
    } else {
        return Ok(());
    };
    body.insert("tool_choice".to_owned(), choice);
    Ok(())
}
