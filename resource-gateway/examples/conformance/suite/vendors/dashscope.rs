//! DashScope: the SDK has one list of arguments, of which the caller's words are the neutral ones.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use resource_gateway::domain::{interface::Capability, vendor::Vendor};
use serde_json::{Map, Value, json};

use super::{openai, openai_shaped};
use crate::suite::{Body, Errand, File, Fixture, Suite};

pub(crate) fn play(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    let path = fixture
        .request()
        .get("path")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if path.starts_with("/compatible-mode/") {
        return openai_shaped::compatible(fixture, suite, "dashscope-compatible");
    }
    let mut vendor = openai::vendor(fixture, "dashscope")?;
    if let Some(workspace) = fixture.input("workspace") {
        vendor.options.insert("workspace".to_owned(), workspace.to_owned());
    }
    let Value::Object(params) = fixture.params() else {
        return Err("there are no params".to_owned());
    };
    suite.call(fixture, errand(fixture, vendor, params, path)?)
}

fn errand(fixture: &Fixture, vendor: Vendor, mut params: Map<String, Value>, path: &str) -> Result<Errand, String> {
    let text = |params: &Map<String, Value>, name: &str| {
        params.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let model = text(&params, "model");
    if fixture.capability() == "asr" || path.ends_with("/inference") {
        return Ok(recording(vendor, &model, params));
    }
    if path.starts_with("/api/v1/tasks/") {
        let submitted = json!({"output": {"task_id": text(&params, "task_id"), "task_status": "PENDING"}});
        let mut errand = match fixture.capability() {
            "images-generation" | "error" => Errand::json(vendor, Capability::Image, "m", json!({"prompt": "x"})),
            other => return Err(format!("there are no tasks of {other}")),
        };
        errand.submitted = Some(submitted);
        return Ok(errand);
    }
    let capability = match path.rsplit('/').next().unwrap_or_default() {
        "text-embedding" => Capability::Embeddings,
        "text-rerank" => Capability::Rerank,
        "image-synthesis" => Capability::Image,
        "generation" if params.contains_key("messages") || params.contains_key("prompt") => Capability::Chat,
        "generation" => Capability::Speech,
        other => return Err(format!("nothing is known of {other}")),
    };
    let renames: &[(&str, &str)] = match capability {
        Capability::Embeddings => &[("dimension", "dimensions")],
        Capability::Speech => &[("text", "input")],
        _ => &[],
    };
    for (theirs, ours) in renames {
        if let Some(value) = params.remove(*theirs) {
            params.insert((*ours).to_owned(), value);
        }
    }
    if capability == Capability::Chat {
        if let Some(thinks) = params.remove("enable_thinking") {
            let kind = if thinks == json!(true) { "enabled" } else { "disabled" };
            params.insert("thinking".to_owned(), json!({"type": kind}));
        }
        if let Some(prompt) = params.remove("prompt") {
            params.insert("messages".to_owned(), json!([{"role": "user", "content": prompt}]));
        }
        for message in params
            .get_mut("messages")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            parts(message);
        }
    }
    let told = ["result_format", "incremental_output"].map(|name| params.contains_key(name));
    let mut errand = Errand::json(vendor, capability, &model, Value::Object(params));
    // The gateway always wants messages, and of a stream what is new: the SDK leaves both to whoever calls it.
    errand.tolerances = match told {
        [true, true] => lean,
        [true, false] => |body| without(body, &["incremental_output"]),
        [false, true] => |body| without(body, &["result_format"]),
        [false, false] => |body| without(body, &["result_format", "incremental_output"]),
    };
    Ok(errand)
}

/// A recording: by its bytes, by where it lies, or the question what has become of it.
fn recording(vendor: Vendor, model: &str, mut params: Map<String, Value>) -> Errand {
    let mut file = File {
        name: String::new(),
        content_type: String::new(),
        bytes: Vec::new(),
    };
    // With the times of what was said.
    let mut fields = vec![("response_format".to_owned(), "verbose_json".to_owned())];
    if let Some(Value::String(sound)) = params.remove("audio_base64") {
        let format = params.remove("format").as_ref().map(openai::plain).unwrap_or_default();
        file.name = format!("a.{format}");
        file.bytes = STANDARD.decode(sound).unwrap_or_default();
        fields.push(("format".to_owned(), format));
    }
    if let Some(urls) = params.remove("file_urls") {
        let first = urls.get(0).and_then(Value::as_str).unwrap_or_default();
        fields.push(("url".to_owned(), first.to_owned()));
    }
    let submitted = params
        .remove("task_id")
        .map(|id| json!({"output": {"task_id": id, "task_status": "PENDING"}}));
    if submitted.is_some() {
        fields.push(("url".to_owned(), "https://audio.example.test/a.wav".to_owned()));
    }
    params.remove("model");
    fields.extend(params.into_iter().map(|(name, value)| (name, openai::plain(&value))));
    let mut errand = Errand::new(vendor, Capability::Transcription, model, Body::Form(fields, file));
    errand.submitted = submitted;
    errand
}

/// The SDK's parts are objects of one member, OpenAI's have a type.
fn parts(message: &mut Value) {
    for part in message
        .get_mut("content")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let said = |name: &str| part.get(name).cloned();
        if let Some(text) = said("text") {
            *part = json!({"type": "text", "text": text});
        } else if let Some(url) = said("image") {
            *part = json!({"type": "image_url", "image_url": {"url": url}});
        } else if let Some(Value::String(url)) = said("audio") {
            let (head, data) = url.split_once(";base64,").unwrap_or_default();
            let format = head.rsplit('/').next().unwrap_or_default();
            *part = json!({"type": "input_audio", "input_audio": {"data": data, "format": format}});
        }
    }
}

fn lean(body: &mut Value) {
    without(body, &[]);
}

fn without(body: &mut Value, names: &[&str]) {
    if let Some(parameters) = body.get_mut("parameters").and_then(Value::as_object_mut) {
        parameters.retain(|name, value| !names.contains(&name.as_str()) && !value.is_null());
    }
    for call in body
        .pointer_mut("/input/messages")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(|message| message.get_mut("tool_calls")?.as_array_mut())
        .flatten()
    {
        if let Some(call) = call.as_object_mut() {
            call.remove("index");
        }
    }
}
