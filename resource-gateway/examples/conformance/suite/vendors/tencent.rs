//! Tencent Cloud: the SDK's arguments are the wire's own.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use resource_gateway::domain::{
    interface::Capability,
    vendor::{SecretKey, Vendor},
};
use serde_json::{Map, Value, json};

use super::openai;
use crate::suite::{Body, Errand, File, Fixture, Suite};

pub(crate) fn play(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    if fixture.input("api_key").is_some() {
        // The way of speaking that is OpenAI's.
        let vendor = openai::vendor(fixture, "openai")?;
        return suite.call(fixture, openai::errand(fixture, vendor)?);
    }
    suite.call(fixture, errand(fixture)?)
}

fn vendor(fixture: &Fixture) -> Vendor {
    let mut vendor = Vendor::named("v", "tencent");
    vendor.credential.secret_id = fixture.input("secret_id").map(str::to_owned);
    if let Some(secret) = fixture.secret_of("secret_key", "token") {
        vendor.credential.secret_key = SecretKey::Present(secret.into());
    }
    if let Some(region) = fixture.input("region").filter(|region| !region.is_empty()) {
        vendor.options.insert("region".to_owned(), region.to_owned());
    }
    vendor
}

fn errand(fixture: &Fixture) -> Result<Errand, String> {
    let Value::Object(mut params) = fixture.params() else {
        return Err("there are no params".to_owned());
    };
    let vendor = vendor(fixture);
    let action = fixture.input("action").unwrap_or_default();
    Ok(match action {
        "ChatCompletions" => {
            let model = take_text(&mut params, "Model");
            let mut errand = Errand::json(vendor, Capability::Chat, &model, chat(params));
            errand.tolerances = same_chat;
            errand
        }
        "GetEmbedding" => {
            let input = params.remove("InputList").or(params.remove("Input"));
            params.insert("input".to_owned(), input.unwrap_or_default());
            Errand::json(vendor, Capability::Embeddings, "embedding", Value::Object(params))
        }
        "SubmitHunyuanImageJob" => Errand::json(vendor, Capability::Image, "image", image(params)),
        "QueryHunyuanImageJob" => {
            let submit = json!({"prompt": "x"});
            let mut errand = Errand::json(vendor, Capability::Image, "image", submit);
            let job = params.remove("JobId").unwrap_or_default();
            errand.submitted = Some(json!({"Response": {"JobId": job, "RequestId": "r"}}));
            errand
        }
        "GeneralBasicOCR" | "GeneralAccurateOCR" => {
            picture(&mut params, "image", ["ImageBase64", "ImageUrl"]);
            Errand::json(vendor, Capability::Ocr, action, Value::Object(params))
        }
        "DetectLabel" => {
            picture(&mut params, "image", ["ImageBase64", "ImageUrl"]);
            Errand::json(vendor, Capability::Labels, "labels", Value::Object(params))
        }
        "DetectFace" => {
            picture(&mut params, "image", ["Image", "Url"]);
            let model = version(&mut params);
            Errand::json(vendor, Capability::Faces, &model, Value::Object(params))
        }
        "CompareFace" => {
            picture(&mut params, "image", ["ImageA", "UrlA"]);
            picture(&mut params, "compare_to", ["ImageB", "UrlB"]);
            let model = version(&mut params);
            Errand::json(vendor, Capability::Faces, &model, Value::Object(params))
        }
        "SentenceRecognition" | "CreateRecTask" => recording(vendor, &mut params)?,
        "DescribeTaskStatus" => {
            let mut params = Map::from_iter([("Url".to_owned(), json!("https://audio.example.test/a.mp3"))]);
            let mut errand = recording(vendor, &mut params)?;
            let task = fixture.params().get("TaskId").cloned();
            errand.submitted = Some(json!({"Response": {"Data": {"TaskId": task}, "RequestId": "r"}}));
            errand
        }
        other => return Err(format!("nothing is known of the action {other:?}")),
    })
}

fn take_text(params: &mut Map<String, Value>, name: &str) -> String {
    let value = params.remove(name).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// The route's model of faces is its version.
fn version(params: &mut Map<String, Value>) -> String {
    match take_text(params, "FaceModelVersion") {
        none if none.is_empty() => "faces".to_owned(),
        version => version,
    }
}

/// Of the two members the URL goes first, as at the vendor.
fn picture(params: &mut Map<String, Value>, field: &str, [base64, url]: [&str; 2]) {
    let (base64, url) = (params.remove(base64), params.remove(url));
    let picture = match (base64, url) {
        (_, Some(url)) => json!({"url": url}),
        (base64, None) => json!({"base64": base64}),
    };
    params.insert(field.to_owned(), picture);
}

fn image(mut params: Map<String, Value>) -> Value {
    let prompt = params.remove("Prompt").unwrap_or_default();
    params.insert("prompt".to_owned(), prompt);
    if let Some(n) = params.remove("Num") {
        params.insert("n".to_owned(), n);
    }
    if let Some(size) = params.remove("Resolution") {
        let size = size.as_str().unwrap_or_default().replace(':', "x");
        params.insert("size".to_owned(), size.into());
    }
    Value::Object(params)
}

/// OpenAI's names of what has one; the others are the vendor's.
fn chat(params: Map<String, Value>) -> Value {
    let mut body = Map::new();
    for (name, value) in params {
        let (name, value) = match name.as_str() {
            "Messages" => ("messages", list(&value, message)),
            "Stream" => ("stream", value),
            "TopP" => ("top_p", value),
            "Temperature" => ("temperature", value),
            "Seed" => ("seed", value),
            "Stop" => ("stop", value),
            "Tools" => ("tools", list(&value, tool)),
            "ToolChoice" if value == "custom" => continue,
            "ToolChoice" => ("tool_choice", value),
            "CustomTool" => {
                let name = value.pointer("/Function/Name").cloned();
                ("tool_choice", json!({"type": "function", "function": {"name": name}}))
            }
            "EnableThinking" => {
                let kind = if value == true { "enabled" } else { "disabled" };
                ("thinking", json!({"type": kind}))
            }
            other => (other, value),
        };
        body.insert(name.to_owned(), value);
    }
    Value::Object(body)
}

fn list(value: &Value, each: fn(&Value) -> Value) -> Value {
    value.as_array().into_iter().flatten().map(each).collect()
}

fn at(value: &Value, pointer: &str) -> Value {
    value.pointer(pointer).cloned().unwrap_or_default()
}

fn message(message: &Value) -> Value {
    let mut out = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(name.to_owned(), value);
        }
    };
    set("role", message.get("Role").cloned());
    set("content", message.get("Content").cloned());
    set("content", message.get("Contents").map(|parts| list(parts, part)));
    set(
        "tool_calls",
        message.get("ToolCalls").map(|calls| list(calls, tool_call)),
    );
    set("tool_call_id", message.get("ToolCallId").cloned());
    Value::Object(out)
}

fn part(part: &Value) -> Value {
    match part.get("Type").and_then(Value::as_str) {
        Some("image_url") => json!({"type": "image_url", "image_url": {"url": at(part, "/ImageUrl/Url")}}),
        _ => json!({"type": "text", "text": at(part, "/Text")}),
    }
}

fn tool_call(call: &Value) -> Value {
    let function = json!({"name": at(call, "/Function/Name"), "arguments": at(call, "/Function/Arguments")});
    json!({"id": at(call, "/Id"), "type": "function", "function": function})
}

fn tool(tool: &Value) -> Value {
    let schema = tool.pointer("/Function/Parameters").and_then(Value::as_str);
    let schema = schema.and_then(|schema| serde_json::from_str::<Value>(schema).ok());
    let members = [
        ("name", Some(at(tool, "/Function/Name"))),
        ("description", tool.pointer("/Function/Description").cloned()),
        ("parameters", schema),
    ];
    let members = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    json!({"type": "function", "function": members.collect::<Map<_, _>>()})
}

/// What means the same in a request of this vendor's.
fn same_chat(body: &mut Value) {
    if body["Stream"] == false
        && let Some(members) = body.as_object_mut()
    {
        members.remove("Stream");
    }
    let read = |tool: &mut Value| {
        // A schema is a JSON text there, and a JSON value wherever it is compared.
        if let Some(schema) = tool.pointer_mut("/Function/Parameters")
            && let Some(Ok(value)) = schema.as_str().map(serde_json::from_str::<Value>)
        {
            *schema = value;
        }
    };
    for tool in body
        .get_mut("Tools")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        read(tool);
    }
    if let Some(tool) = body.get_mut("CustomTool") {
        read(tool);
    }
    for message in body
        .get_mut("Messages")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        for call in message
            .get_mut("ToolCalls")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            // Their order says it.
            if let Some(members) = call.as_object_mut() {
                members.remove("Index");
            }
        }
    }
}

fn recording(vendor: Vendor, params: &mut Map<String, Value>) -> Result<Errand, String> {
    let engine = [
        take_text(params, "EngSerViceType"),
        take_text(params, "EngineModelType"),
    ]
    .concat();
    let data = take_text(params, "Data");
    let bytes = STANDARD.decode(data).map_err(|error| error.to_string())?;
    params.remove("DataLen");
    params.remove("SourceType");
    let format = params.get("VoiceFormat").and_then(Value::as_str).unwrap_or("wav");
    let mut fields = vec![("response_format".to_owned(), "verbose_json".to_owned())];
    let name = match params.contains_key("Url") {
        true => String::new(),
        false => format!("recording.{format}"),
    };
    let file = File {
        name,
        content_type: "application/octet-stream".to_owned(),
        bytes,
    };
    for (name, value) in std::mem::take(params) {
        let name = if name == "Url" { "url".to_owned() } else { name };
        fields.push((name, openai::plain(&value)));
    }
    Ok(Errand::new(
        vendor,
        Capability::Transcription,
        &engine,
        Body::Form(fields, file),
    ))
}
