//! Google's Gemini with an API key.

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use serde_json::{Value, json};

use super::{
    Dialect,
    chat::{Answer, Asked, CACHED, Choice, Finish, INPUT, OUTPUT, Telling, Tool, pieces},
    credentials,
    shape::{Checked, Failure, Object, Picture, Refused, invalid, refuse},
    unlucky,
    wire::{Events, Part, Request, Stream, Style, Whole},
};

pub(super) struct Generate;

/// Model and method of `/v1/models/{model}:{method}`.
fn target(request: &Request) -> Option<(&str, &str)> {
    let rest = request
        .path
        .strip_prefix("/v1/models/")
        .or_else(|| request.path.strip_prefix("/v1beta/models/"))?;
    rest.rsplit_once(':').filter(|(model, _)| !model.contains('/'))
}

pub(super) fn is_chat(request: &Request) -> bool {
    !matches!(
        target(request),
        Some((_, "batchEmbedContents" | "embedContent" | "countTokens"))
    )
}

fn door(request: &Request) -> Checked<(String, String)> {
    let Some((model, method)) = target(request).filter(|_| request.method == "POST") else {
        return refuse(Failure::NotFound, "Requested entity was not found.");
    };
    if request.query("key").is_some() {
        return refuse(
            Failure::Credentials,
            "The key stands in the URL, where proxies write it down",
        );
    }
    match request.header("x-goog-api-key") {
        Some(key) if key == credentials("gemini").key => Ok((model.to_owned(), method.to_owned())),
        _ => refuse(Failure::Credentials, "API key not valid. Please pass a valid API key."),
    }
}

/// The parts of a content, with what is of interest in them.
#[derive(Default)]
struct Said {
    texts: Vec<String>,
    pictures: Vec<Picture>,
    calls: Vec<String>,
    results: Vec<(String, String)>,
}

fn content(value: &Value, path: &str) -> Checked<(Option<String>, Said)> {
    let mut content = Object::of(value, path)?;
    let role = content.one_of("role", &["user", "model"])?.map(str::to_owned);
    let mut said = Said::default();
    for (at, part) in content.list("parts")?.iter().enumerate() {
        let mut part = Object::of(part, format!("{path}.parts[{at}]"))?;
        if let Some(text) = part.maybe_text("text")? {
            said.texts.push(text.to_owned());
        } else if let Some(mut data) = part.maybe_object("inlineData")? {
            let kind = match data.maybe_text("mimeType")? {
                Some(kind) => kind,
                None => data.text("mime_type")?,
            };
            if !kind.starts_with("image/") {
                return invalid(data.path("mimeType"), "Unsupported MIME type");
            }
            let field = data.path("data");
            let text = data.text("data")?;
            let standard = URL_SAFE
                .decode(text)
                .map(|bytes| base64::engine::general_purpose::STANDARD.encode(bytes));
            let text = standard.unwrap_or_else(|_| text.to_owned());
            said.pictures.push(Picture::of_base64(&text, &field)?);
            data.skip(&["displayName"]);
            data.close()?;
        } else if let Some(mut data) = part.maybe_object("fileData")? {
            data.maybe_text("mimeType")?;
            said.pictures.push(Picture::Url(data.text("fileUri")?.to_owned()));
            data.close()?;
        } else if let Some(mut call) = part.maybe_object("functionCall")? {
            said.calls.push(call.text("name")?.to_owned());
            call.maybe_text("id")?;
            if call.any("args").is_some_and(|args| !args.is_object()) {
                return invalid(call.path("args"), "must be an object");
            }
            call.close()?;
        } else if let Some(mut result) = part.maybe_object("functionResponse")? {
            let name = result.text("name")?.to_owned();
            result.maybe_text("id")?;
            match result.any("response") {
                Some(response) if response.is_object() => said.results.push((name, response.to_string())),
                _ => return invalid(result.path("response"), "must be an object"),
            }
            result.close()?;
        } else {
            return invalid(format!("{path}.parts[{at}]"), "has no data");
        }
        part.skip(&["thought", "thoughtSignature", "videoMetadata"]);
        part.close()?;
    }
    content.close()?;
    Ok((role, said))
}

fn read(request: &Request) -> Checked<Asked> {
    let (model, method) = door(request)?;
    let stream = match method.as_str() {
        "generateContent" => false,
        "streamGenerateContent" if request.query("alt").as_deref() == Some("sse") => true,
        _ => return refuse(Failure::NotFound, "Requested entity was not found."),
    };
    let body = request.json()?;
    let mut object = Object::of(&body, "")?;
    let mut asked = Asked {
        model,
        stream,
        usage: true,
        ..Asked::default()
    };
    if let Some(system) = object.any("systemInstruction") {
        asked.says(&content(system, "systemInstruction")?.1.texts.join("\n"));
    }
    config(&mut object, &mut asked)?;
    tools(&mut object, &mut asked)?;
    object.skip(&["safetySettings", "cachedContent", "model"]);
    let contents = object.list("contents")?;
    asked.messages = contents.len();
    let mut open_calls = Vec::new();
    for (at, value) in contents.iter().enumerate() {
        let (role, said) = content(value, &format!("contents[{at}]"))?;
        if role.as_deref() == Some("model") {
            open_calls = said.calls;
            continue;
        }
        if !said.results.is_empty() {
            // As many answers as there were calls, by their names.
            let names: Vec<_> = said.results.iter().map(|(name, _)| name.clone()).collect();
            if names != open_calls {
                return refuse(
                    Failure::Invalid,
                    "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.",
                );
            }
            asked.results.extend(said.results.into_iter().map(|(_, result)| result));
            continue;
        }
        asked.pictures = said.pictures;
        asked.hears(&said.texts.join("\n"));
    }
    object.close()?;
    Ok(asked)
}

fn config(object: &mut Object, asked: &mut Asked) -> Checked<()> {
    let Some(mut config) = object.maybe_object("generationConfig")? else {
        return Ok(());
    };
    asked.temperature = config.within("temperature", 0.0, 2.0)?;
    asked.top_p = config.within("topP", 0.0, 1.0)?;
    config.maybe_number("topK")?;
    asked.max_tokens = config.maybe_count("maxOutputTokens")?;
    asked.stop = config.texts("stopSequences")?;
    asked.seed = config.maybe_integer("seed")?;
    config.maybe_count("candidateCount")?;
    config.within("presencePenalty", -2.0, 2.0)?;
    config.within("frequencyPenalty", -2.0, 2.0)?;
    let kind = config.one_of("responseMimeType", &["text/plain", "application/json"])?;
    let schema = config.any("responseSchema");
    let schema = schema.or(config.any("responseJsonSchema"));
    if schema.is_some() && kind != Some("application/json") {
        return invalid(
            "generationConfig.responseSchema",
            "needs responseMimeType application/json",
        );
    }
    if kind == Some("application/json") {
        asked.json = Some(schema.cloned().unwrap_or_default());
    }
    if let Some(mut thinking) = config.maybe_object("thinkingConfig")? {
        asked.thinking = thinking.flag("includeThoughts", false)?;
        thinking.maybe_integer("thinkingBudget")?;
        thinking.skip(&["thinkingLevel"]);
        thinking.close()?;
    }
    config.skip(&["responseLogprobs", "logprobs", "responseModalities"]);
    config.close()
}

fn tools(object: &mut Object, asked: &mut Asked) -> Checked<()> {
    for (at, tool) in object.maybe_list("tools")?.iter().enumerate() {
        let mut tool = Object::of(tool, format!("tools[{at}]"))?;
        for function in tool.maybe_list("functionDeclarations")? {
            let mut function = Object::of(function, format!("tools[{at}].functionDeclarations"))?;
            let name = function.text("name")?.to_owned();
            function.maybe_text("description")?;
            let schema = function.any("parameters");
            let schema = schema.or(function.any("parametersJsonSchema")).cloned();
            function.close()?;
            asked.tools.push(Tool {
                name,
                schema: schema.unwrap_or_default(),
            });
        }
        tool.skip(&["googleSearch", "codeExecution"]);
        tool.close()?;
    }
    let Some(mut config) = object.maybe_object("toolConfig")? else {
        return Ok(());
    };
    if let Some(mut calling) = config.maybe_object("functionCallingConfig")? {
        let names = calling.texts("allowedFunctionNames")?;
        asked.choice = match calling.one_of("mode", &["AUTO", "ANY", "NONE", "VALIDATED"])? {
            Some("ANY") => names
                .first()
                .map_or(Choice::Required, |name| Choice::Named(name.clone())),
            Some("NONE") => Choice::None,
            _ if !names.is_empty() => {
                return invalid("toolConfig.allowedFunctionNames", "is only for the mode ANY");
            }
            _ => Choice::Auto,
        };
        calling.close()?;
    }
    config.skip(&["retrievalConfig"]);
    config.close()
}

/// `:batchEmbedContents` and `:embedContent`, `:countTokens`.
pub(super) fn embeddings(request: &Request) -> Whole {
    let answer = (|| {
        let (model, method) = door(request)?;
        let body = request.json()?;
        let mut object = Object::of(&body, "")?;
        let vector = json!({"values": [0.25, -0.5, 0.125]});
        match method.as_str() {
            "batchEmbedContents" => {
                let mut vectors = Vec::new();
                for (at, one) in object.list("requests")?.iter().enumerate() {
                    let mut one = Object::of(one, format!("requests[{at}]"))?;
                    if one.text("model")? != format!("models/{model}") {
                        return invalid(one.path("model"), "is not the model of the path");
                    }
                    content(one.any("content").unwrap_or(&Value::Null), &one.path("content"))?;
                    one.maybe_text("taskType")?;
                    one.maybe_count("outputDimensionality")?;
                    one.skip(&["title"]);
                    one.close()?;
                    vectors.push(vector.clone());
                }
                object.close()?;
                Ok(json!({"embeddings": vectors}))
            }
            "embedContent" => {
                content(object.any("content").unwrap_or(&Value::Null), "content")?;
                Ok(json!({"embedding": vector}))
            }
            _ => {
                object.list("contents")?;
                Ok(json!({"totalTokens": INPUT}))
            }
        }
    })();
    match answer {
        Ok(body) => Whole::json(200, &body),
        Err(refused) => Generate.failure(&refused, None),
    }
}

fn usage() -> Value {
    json!({"promptTokenCount": INPUT, "cachedContentTokenCount": CACHED, "candidatesTokenCount": OUTPUT, "totalTokenCount": INPUT + OUTPUT})
}

fn finish_word(answer: &Answer) -> &'static str {
    match answer.finish {
        // A call is a normal stop here.
        Finish::Stop | Finish::ToolCalls => "STOP",
        Finish::Length => "MAX_TOKENS",
    }
}

fn reply(asked: &Asked, parts: &Value, finish: Option<&str>, usage: Option<Value>) -> Value {
    let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    if let Some(finish) = finish {
        candidate["finishReason"] = finish.into();
    }
    let mut body = json!({"candidates": [candidate], "modelVersion": asked.model, "responseId": "mock-1"});
    if let Some(usage) = usage {
        body["usageMetadata"] = usage;
    }
    body
}

impl Dialect for Generate {
    fn parse(&self, request: &Request) -> Checked<Asked> {
        read(request)
    }

    fn whole(&self, asked: &Asked, answer: &Answer, telling: Telling) -> Whole {
        let mut parts = Vec::new();
        if let Some(thought) = &answer.reasoning {
            parts.push(json!({"text": thought, "thought": true}));
        }
        if !answer.text.is_empty() {
            parts.push(json!({"text": answer.text}));
        }
        for call in &answer.calls {
            parts.push(
                json!({"functionCall": {"name": call.name, "args": call.arguments}, "thoughtSignature": "bW9jaw=="}),
            );
        }
        let usage = (telling != Telling::Missing).then(usage);
        Whole::json(200, &reply(asked, &json!(parts), Some(finish_word(answer)), usage))
    }

    fn stream(&self, asked: &Asked, answer: &Answer, telling: Telling) -> Stream {
        let mut events = Events::new(Style::of(&asked.user));
        let prompt = (telling == Telling::Split || telling == Telling::Usual)
            .then(|| json!({"promptTokenCount": INPUT, "totalTokenCount": INPUT}));
        let part = |events: &mut Events, part: Value| {
            events.data(Part::Content, &reply(asked, &json!([part]), None, prompt.clone()));
        };
        if let Some(thought) = &answer.reasoning {
            for piece in pieces(thought) {
                part(&mut events, json!({"text": piece, "thought": true}));
            }
        }
        for piece in pieces(&answer.text) {
            part(&mut events, json!({"text": piece}));
        }
        for call in &answer.calls {
            part(
                &mut events,
                json!({"functionCall": {"name": call.name, "args": call.arguments}}),
            );
        }
        let at_end = match telling {
            Telling::Missing | Telling::Late => None,
            Telling::Split => Some(json!({"candidatesTokenCount": OUTPUT, "cachedContentTokenCount": CACHED})),
            Telling::Usual => Some(usage()),
        };
        let finish = reply(asked, &json!([{"text": ""}]), Some(finish_word(answer)), at_end);
        events.data(Part::Finish, &finish);
        if telling == Telling::Late {
            events.data(
                Part::Usage,
                &json!({"usageMetadata": usage(), "modelVersion": asked.model, "responseId": "mock-1"}),
            );
        }
        events.stream()
    }

    fn failure(&self, refused: &Refused, wait: Option<u64>) -> Whole {
        let (status, word) = match refused.failure {
            Failure::Invalid
            | Failure::ContextLength
            | Failure::TooLarge
            | Failure::Filtered
            | Failure::Credentials => (400, "INVALID_ARGUMENT"),
            Failure::Forbidden => (403, "PERMISSION_DENIED"),
            Failure::NotFound => (404, "NOT_FOUND"),
            Failure::RateLimit | Failure::Quota => (429, "RESOURCE_EXHAUSTED"),
            Failure::Internal => (500, "INTERNAL"),
            Failure::Overloaded => (503, "UNAVAILABLE"),
            Failure::Timeout => (504, "DEADLINE_EXCEEDED"),
        };
        let mut error = json!({"code": status, "message": refused.said, "status": word});
        if refused.failure == Failure::Credentials {
            error["details"] = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]);
        }
        if let Some(seconds) = wait {
            error["details"] =
                json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")}]);
        }
        Whole::json(status, &json!({ "error": error }))
    }

    fn late_failure(&self, said: &str) -> Vec<u8> {
        let whole = self.failure(&unlucky(said), None);
        [b"data: ", whole.body.as_slice(), b"\n\n"].concat()
    }

    fn garbage(&self) -> Vec<u8> {
        b"data: {\"candidates\": [oops\n\n".to_vec()
    }
}
