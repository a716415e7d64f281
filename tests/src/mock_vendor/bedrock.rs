//! AWS Bedrock: Converse as JSON and as a binary event stream, signed by SigV4.

use serde_json::{Value, json};

use super::{
    Dialect,
    chat::{Answer, Asked, Choice, Finish, INPUT, OUTPUT, Telling, Tool, pieces},
    shape::{Checked, Failure, Object, Picture, Refused, invalid, refuse},
    signatures,
    wire::{Frame, Part, Request, Stream, Whole},
};

pub(super) struct Converse;

fn decoded(segment: &str) -> String {
    // A path is no form: a plus is a plus.
    let form = format!("x={}", segment.replace('+', "%2B"));
    url::form_urlencoded::parse(form.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn read(request: &Request) -> Checked<Asked> {
    let rest = request.path.strip_prefix("/model/").unwrap_or_default();
    let Some((segment, call)) = rest.split_once('/').filter(|_| request.method == "POST") else {
        return refuse(Failure::NotFound, "Unknown operation");
    };
    let stream = match call {
        "converse" => false,
        "converse-stream" => true,
        _ => return refuse(Failure::NotFound, "Unknown operation"),
    };
    signatures::sigv4(request, "bedrock")?;
    let body = request.json()?;
    let mut object = Object::of(&body, "")?;
    let mut asked = Asked {
        model: decoded(segment),
        stream,
        usage: true,
        ..Asked::default()
    };
    for block in object.maybe_list("system")? {
        let mut block = Object::of(block, "system")?;
        if let Some(text) = block.maybe_text("text")? {
            asked.says(text);
        }
        block.skip(&["cachePoint", "guardContent"]);
        block.close()?;
    }
    if let Some(mut config) = object.maybe_object("inferenceConfig")? {
        asked.max_tokens = config.maybe_count("maxTokens")?;
        asked.temperature = config.within("temperature", 0.0, 1.0)?;
        asked.top_p = config.within("topP", 0.0, 1.0)?;
        asked.stop = config.texts("stopSequences")?;
        config.close()?;
    }
    tools(&mut object, &mut asked)?;
    if let Some(more) = object.any("additionalModelRequestFields") {
        asked.thinking = more["thinking"]["type"] == "enabled";
    }
    object.skip(&[
        "guardrailConfig",
        "additionalModelResponseFieldPaths",
        "performanceConfig",
        "requestMetadata",
        "promptVariables",
        "serviceTier",
        "outputConfig",
    ]);
    messages(object.list("messages")?, &mut asked)?;
    object.close()?;
    Ok(asked)
}

fn tools(object: &mut Object, asked: &mut Asked) -> Checked<()> {
    let Some(mut config) = object.maybe_object("toolConfig")? else {
        return Ok(());
    };
    for tool in config.list("tools")? {
        let mut tool = Object::of(tool, "toolConfig.tools")?;
        if let Some(mut spec) = tool.maybe_object("toolSpec")? {
            let name = spec.text("name")?.to_owned();
            if spec.maybe_text("description")?.is_some_and(str::is_empty) {
                return invalid(
                    "toolConfig.tools.toolSpec.description",
                    "Member must have length greater than or equal to 1",
                );
            }
            let mut schema = spec.object("inputSchema")?;
            let inner = schema.any("json").cloned().unwrap_or_default();
            schema.close()?;
            if inner["type"] != "object" {
                return invalid("toolConfig.tools.toolSpec.inputSchema.json.type", "must be object");
            }
            spec.skip(&["strict"]);
            spec.close()?;
            asked.tools.push(Tool { name, schema: inner });
        }
        tool.skip(&["cachePoint"]);
        tool.close()?;
    }
    if let Some(mut choice) = config.maybe_object("toolChoice")? {
        asked.choice = if choice.any("any").is_some() {
            Choice::Required
        } else if let Some(mut named) = choice.maybe_object("tool")? {
            Choice::Named(named.text("name")?.to_owned())
        } else if choice.any("auto").is_some() {
            Choice::Auto
        } else {
            return invalid("toolConfig.toolChoice", "must be auto, any or tool");
        };
        choice.skip(&["auto", "any", "tool"]);
        choice.close()?;
    }
    config.close()
}

fn messages(list: &[Value], asked: &mut Asked) -> Checked<()> {
    asked.messages = list.len();
    let mut open_calls: Vec<String> = Vec::new();
    let mut before = "";
    for (at, message) in list.iter().enumerate() {
        let mut message = Object::of(message, format!("messages.{at}"))?;
        let role = message.text("role")?;
        if !["user", "assistant"].contains(&role) {
            return invalid(message.path("role"), "must satisfy enum value set: [user, assistant]");
        }
        if role == before || (at == 0 && role != "user") {
            return refuse(
                Failure::Invalid,
                "A conversation must alternate between user and assistant roles, and start with a user.",
            );
        }
        before = role;
        if role == "assistant" {
            open_calls.clear();
        }
        let mut texts = Vec::new();
        let mut pictures = Vec::new();
        let mut results = Vec::new();
        for (number, block) in message.list("content")?.iter().enumerate() {
            let mut block = Object::of(block, format!("messages.{at}.content.{number}"))?;
            if let Some(text) = block.maybe_text("text")? {
                if text.trim().is_empty() {
                    return invalid(block.path("text"), "The text field in the ContentBlock object is blank");
                }
                texts.push(text.to_owned());
            }
            if let Some(mut image) = block.maybe_object("image")? {
                if image.one_of("format", &["png", "jpeg", "gif", "webp"])?.is_none() {
                    return invalid(image.path("format"), "Member must not be null");
                }
                let mut source = image.object("source")?;
                let path = source.path("bytes");
                pictures.push(Picture::of_base64(source.text("bytes")?, &path)?);
                source.close()?;
                image.close()?;
            }
            if let Some(mut call) = block.maybe_object("toolUse")? {
                open_calls.push(call.text("toolUseId")?.to_owned());
                call.text("name")?;
                if !call.any("input").is_some_and(Value::is_object) {
                    return invalid(call.path("input"), "must be an object");
                }
                call.close()?;
            }
            if let Some(result) = block.maybe_object("toolResult")? {
                results.push(tool_result(result, &open_calls)?);
            }
            block.skip(&["document", "reasoningContent", "cachePoint", "video"]);
            block.close()?;
        }
        message.close()?;
        if role == "user" {
            if results.is_empty() || !texts.is_empty() {
                asked.pictures = pictures;
                asked.hears(&texts.join("\n"));
            }
            asked.results.extend(results);
        }
    }
    Ok(())
}

fn tool_result(mut result: Object, open_calls: &[String]) -> Checked<String> {
    let id = result.text("toolUseId")?;
    if !open_calls.iter().any(|open| open == id) {
        return refuse(
            Failure::Invalid,
            "The number of toolResult blocks exceeds the number of toolUse blocks of the previous turn.",
        );
    }
    result.one_of("status", &["success", "error"])?;
    let mut texts = Vec::new();
    for content in result.list("content")? {
        let mut content = Object::of(content, "toolResult.content")?;
        if let Some(text) = content.maybe_text("text")? {
            texts.push(text.to_owned());
        } else if let Some(value) = content.any("json") {
            if !value.is_object() {
                return invalid("toolResult.content.json", "must be an object");
            }
            texts.push(value.to_string());
        }
        content.skip(&["json", "image", "document"]);
        content.close()?;
    }
    result.close()?;
    Ok(texts.join("\n"))
}

fn usage() -> Value {
    json!({"inputTokens": INPUT, "outputTokens": OUTPUT, "totalTokens": INPUT + OUTPUT})
}

fn stop_reason(answer: &Answer) -> &'static str {
    match answer.finish {
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
    }
}

/// A frame of the event stream: lengths, headers, payload, and checksums over each.
fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).unwrap());
        head.extend(name.as_bytes());
        head.push(7);
        head.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        head.extend(value.as_bytes());
    }
    let total = u32::try_from(16 + head.len() + payload.len()).unwrap();
    let mut frame = total.to_be_bytes().to_vec();
    frame.extend(u32::try_from(head.len()).unwrap().to_be_bytes());
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame.extend(head);
    frame.extend(payload);
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame
}

fn event(part: Part, kind: &str, payload: &Value) -> Frame {
    let headers = [
        (":event-type", kind),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    let mut payload = payload.clone();
    // Padding, so that lengths tell nothing.
    payload["p"] = "abcdefgh".into();
    Frame {
        part,
        bytes: frame(&headers, payload.to_string().as_bytes()),
    }
}

const PREAMBLE: &str = "Looking.";

impl Dialect for Converse {
    fn parse(&self, request: &Request) -> Checked<Asked> {
        read(request)
    }

    fn whole(&self, _: &Asked, answer: &Answer, telling: Telling) -> Whole {
        let mut content = Vec::new();
        if let Some(thought) = &answer.reasoning {
            content.push(json!({"reasoningContent": {"reasoningText": {"text": thought, "signature": "bW9jaw=="}}}));
        }
        let text = if answer.calls.is_empty() {
            &answer.text
        } else {
            PREAMBLE
        };
        content.push(json!({"text": text}));
        for (at, call) in answer.calls.iter().enumerate() {
            content.push(json!({"toolUse": {"toolUseId": format!("tooluse_mock_{at}"), "name": call.name, "input": call.arguments}}));
        }
        let mut body = json!({"output": {"message": {"role": "assistant", "content": content}}, "stopReason": stop_reason(answer),
            "metrics": {"latencyMs": 12}});
        if telling != Telling::Missing {
            body["usage"] = usage();
        }
        Whole::json(200, &body).with("x-amzn-requestid", "00000000-0000-4000-8000-000000000001")
    }

    fn stream(&self, _: &Asked, answer: &Answer, telling: Telling) -> Stream {
        let mut frames = vec![event(Part::Start, "messageStart", &json!({"role": "assistant"}))];
        let mut index = 0;
        let mut block = |start: Option<Value>, deltas: Vec<Value>| {
            if let Some(start) = start {
                let start = json!({"contentBlockIndex": index, "start": start});
                frames.push(event(Part::Content, "contentBlockStart", &start));
            }
            for delta in deltas {
                let delta = json!({"contentBlockIndex": index, "delta": delta});
                frames.push(event(Part::Content, "contentBlockDelta", &delta));
            }
            let stop = json!({"contentBlockIndex": index});
            frames.push(event(Part::Content, "contentBlockStop", &stop));
            index += 1;
        };
        if let Some(thought) = &answer.reasoning {
            let mut deltas: Vec<_> = pieces(thought)
                .into_iter()
                .map(|piece| json!({"reasoningContent": {"text": piece}}))
                .collect();
            deltas.push(json!({"reasoningContent": {"signature": "bW9jaw=="}}));
            block(None, deltas);
        }
        let text = if answer.calls.is_empty() {
            &answer.text
        } else {
            PREAMBLE
        };
        block(
            None,
            pieces(text).into_iter().map(|piece| json!({"text": piece})).collect(),
        );
        for (at, call) in answer.calls.iter().enumerate() {
            let start = json!({"toolUse": {"toolUseId": format!("tooluse_mock_{at}"), "name": call.name}});
            let deltas = pieces(&call.arguments.to_string())
                .into_iter()
                .map(|piece| json!({"toolUse": {"input": piece}}))
                .collect();
            block(Some(start), deltas);
        }
        frames.push(event(
            Part::Finish,
            "messageStop",
            &json!({"stopReason": stop_reason(answer)}),
        ));
        if telling != Telling::Missing {
            let metadata = json!({"usage": usage(), "metrics": {"latencyMs": 12}});
            frames.push(event(Part::Usage, "metadata", &metadata));
        }
        Stream {
            content_type: "application/vnd.amazon.eventstream",
            headers: vec![("x-amzn-requestid", "00000000-0000-4000-8000-000000000001".to_owned())],
            frames,
            messages: false,
        }
    }

    fn failure(&self, refused: &Refused, _: Option<u64>) -> Whole {
        let (status, name) = match refused.failure {
            Failure::Invalid | Failure::ContextLength | Failure::TooLarge | Failure::Filtered => {
                (400, "ValidationException")
            }
            Failure::Credentials => (403, "InvalidSignatureException"),
            Failure::Forbidden => (403, "AccessDeniedException"),
            Failure::NotFound => (404, "ResourceNotFoundException"),
            Failure::RateLimit => (429, "ThrottlingException"),
            Failure::Quota => (400, "ServiceQuotaExceededException"),
            Failure::Internal => (500, "InternalServerException"),
            Failure::Overloaded => (503, "ServiceUnavailableException"),
            Failure::Timeout => (408, "ModelTimeoutException"),
        };
        Whole::json(status, &json!({"message": refused.said}))
            .with("x-amzn-requestid", "00000000-0000-4000-8000-00000000000e")
            .with(
                "x-amzn-errortype",
                format!("{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"),
            )
    }

    /// This protocol has statuses for failures, and nothing of the kind under 200.
    fn hidden_failure(&self, said: &str) -> Whole {
        Whole::json(
            200,
            &json!({"__type": "com.amazon.bedrock#InternalServerException", "message": said}),
        )
    }

    fn late_failure(&self, said: &str) -> Vec<u8> {
        let headers = [
            (":exception-type", "internalServerException"),
            (":content-type", "application/json"),
            (":message-type", "exception"),
        ];
        frame(&headers, json!({"message": said}).to_string().as_bytes())
    }

    /// A frame whose checksum does not hold.
    fn garbage(&self) -> Vec<u8> {
        let mut bytes = event(Part::Content, "contentBlockDelta", &json!({})).bytes;
        if let Some(last) = bytes.last_mut() {
            *last ^= 0x55;
        }
        bytes
    }
}
