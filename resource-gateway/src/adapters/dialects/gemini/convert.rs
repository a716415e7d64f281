//! Neutral chat as Gemini's objects, and back.

use std::{borrow::Cow, collections::HashMap};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{
    schema::Schemas,
    wire::{
        Blob, Chance, Content, Declaration, FileData, FunctionCall, FunctionResponse, Logprobs, Part, Reply, Request,
        SaidCall, SaidPart, ToolSet,
    },
};
use crate::{
    adapters::dialects::reading::in_order,
    domain::{
        chat::{
            self, ChatReply, ChatRequest, Choice, Counts, Finish, FinishReason, Format, Message, PartKind, Reasoning,
            Role, STORE, Source, Thought, ToolChoice, ToolUse, arguments_object, is_made_up,
        },
        fault::{Fault, FaultClass},
    },
    ports::codec::{EncodeError, Fetched, MOST_URLS},
};

/// What of the vendor's own members stands beside `generationConfig`, which has all others.
const BESIDE: [&str; 2] = ["cachedContent", "safetySettings"];
pub(super) const CONFIG: &str = "generationConfig";

/// Writes a request.
///
/// # Errors
/// URLs whose pictures are not there yet.
pub(super) fn request<'a>(request: &'a ChatRequest<'_>, fetched: &'a [Fetched]) -> Result<Request<'a>, EncodeError> {
    let mut talk = Talk {
        fetched,
        missing: Vec::new(),
        names: HashMap::new(),
        contents: Vec::with_capacity(request.messages.len()),
        instructions: Vec::new(),
    };
    for message in &request.messages {
        talk.add(message);
    }
    if !talk.missing.is_empty() {
        return Err(EncodeError::Fetch(talk.missing));
    }
    let mut beside = Map::new();
    if let Some(choice) = &request.tool_choice {
        beside.insert(
            "toolConfig".to_owned(),
            json!({"functionCallingConfig": calling(choice)}),
        );
    }
    let mut schemas = Schemas::default();
    let mut config = config(request, &mut schemas);
    for (name, value) in &request.options {
        match (name.as_str(), value) {
            // What was said in OpenAI's words stays.
            (CONFIG, Value::Object(members)) => {
                for (name, value) in members {
                    config.entry(name).or_insert_with(|| value.clone());
                }
            }
            (name, value) if BESIDE.contains(&name) => drop(beside.insert(name.to_owned(), value.clone())),
            (name, value) => drop(config.entry(name).or_insert_with(|| value.clone())),
        }
    }
    let system = (!talk.instructions.is_empty()).then_some(Content {
        role: None,
        parts: talk.instructions,
    });
    Ok(Request {
        contents: talk.contents,
        system_instruction: system,
        generation_config: config,
        tools: tools(request, &mut schemas),
        beside,
    })
}

/// A conversation on its way.
struct Talk<'a> {
    fetched: &'a [Fetched],
    missing: Vec<String>,
    /// Calls' functions: answers name these, not the calls.
    names: HashMap<&'a str, &'a str>,
    contents: Vec<Content<'a>>,
    instructions: Vec<Part<'a>>,
}

fn text(text: &str) -> Part<'_> {
    Part {
        text: Some(Cow::Borrowed(text)),
        ..Part::default()
    }
}

impl<'a> Talk<'a> {
    fn add(&mut self, message: &'a Message<'_>) {
        match message.role {
            Role::System | Role::Developer => {
                let parts = self.parts(&message.content);
                self.instructions.extend(parts);
            }
            Role::User => {
                let parts = self.parts(&message.content);
                self.put("user", parts);
            }
            Role::Assistant => {
                let mut parts = self.parts(&message.content);
                parts.extend(message.refusal.as_deref().map(text));
                // What it thought is not sent back: the vendor takes none but its own, and nothing tells whose it was.
                parts.retain(|part| part.text.as_ref().is_none_or(|text| !text.is_empty()));
                for call in &message.tool_calls {
                    if let Some(id) = &call.id {
                        self.names.insert(id, &call.name);
                    }
                    parts.push(function_call(call));
                }
                self.put("model", parts);
            }
            Role::Tool => self.answer(message),
        }
    }

    /// A content without parts is refused by the vendor, and says nothing.
    fn put(&mut self, role: &'static str, parts: Vec<Part<'a>>) {
        if !parts.is_empty() {
            self.contents.push(Content {
                role: Some(role),
                parts,
            });
        }
    }

    /// All answers to the calls of one turn stand in one content.
    fn answer(&mut self, message: &'a Message<'_>) {
        let id = message.tool_call_id.as_deref();
        let name = id.and_then(|id| self.names.get(id).copied());
        let mut parts = self.parts(&message.content);
        parts.retain(|part| part.text.is_none());
        parts.insert(
            0,
            Part {
                function_response: Some(FunctionResponse {
                    id: id.filter(|id| !is_made_up(id)),
                    // Who cut the call off from its answer has told the function's name, or it is lost.
                    name: name.or(message.name.as_deref()).or(id).unwrap_or_default(),
                    response: response(message),
                }),
                ..Part::default()
            },
        );
        match self.contents.last_mut() {
            Some(last) if last.parts.first().is_some_and(|part| part.function_response.is_some()) => {
                last.parts.extend(parts);
            }
            _ => self.put("user", parts),
        }
    }

    fn parts(&mut self, content: &'a chat::Content<'_>) -> Vec<Part<'a>> {
        match content {
            chat::Content::None => Vec::new(),
            chat::Content::Text(said) => vec![text(said)],
            chat::Content::Parts(parts) => parts.iter().filter_map(|part| self.part(&part.kind)).collect(),
        }
    }

    /// `None`: its bytes are missing.
    fn part(&mut self, part: &'a PartKind<'_>) -> Option<Part<'a>> {
        let blob = |mime_type: Cow<'a, str>, data: Cow<'a, str>| Part {
            inline_data: Some(Blob { mime_type, data }),
            ..Part::default()
        };
        let source = match part {
            PartKind::Text(said) => return Some(text(said)),
            PartKind::Audio { data, format } => {
                return Some(blob(format!("audio/{format}").into(), Cow::Borrowed(data)));
            }
            PartKind::Image { source, .. } | PartKind::Document { source, .. } => source,
        };
        let (url, told) = match source {
            Source::Base64 { media_type, data } => {
                return Some(blob(Cow::Borrowed(media_type), Cow::Borrowed(data)));
            }
            Source::Url { url, media_type } => (url.as_ref(), media_type.as_deref()),
        };
        // Who says what lies there says it for the vendor, which looks itself.
        if is_the_vendors(url) || told.is_some() {
            let file_data = Some(FileData {
                mime_type: told.or_else(|| media_type_of(url)),
                file_uri: url,
            });
            return Some(Part {
                file_data,
                ..Part::default()
            });
        }
        if let Some(found) = self.fetched.iter().find(|fetched| fetched.url == url) {
            let data = STANDARD.encode(&found.bytes);
            return Some(blob(Cow::Borrowed(&found.media_type), data.into()));
        }
        if self.missing.len() <= MOST_URLS && !self.missing.iter().any(|known| known == url) {
            self.missing.push(url.to_owned());
        }
        None
    }
}

/// Files that were given to the vendor before, and films that it knows by their address. Of other addresses it has no opinion.
fn is_the_vendors(url: &str) -> bool {
    const PLACES: [&str; 5] = [
        STORE,
        "https://generativelanguage.googleapis.com/",
        "https://www.youtube.com/",
        "https://youtube.com/",
        "https://youtu.be/",
    ];
    PLACES.iter().any(|place| url.starts_with(place))
}

/// By the end of the name; `None` where the vendor has to know it.
fn media_type_of(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    let (_, extension) = path.rsplit('/').next()?.rsplit_once('.')?;
    Some(match extension.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "pdf" => "application/pdf",
        "mp4" => "video/mp4",
        _ => return None,
    })
}

fn function_call<'a>(call: &'a ToolUse<'_>) -> Part<'a> {
    // Models write what is no object, and callers send it back: it is shown as it was.
    let args = arguments_object(&call.arguments);
    let args = args.unwrap_or_else(|| Map::from_iter([("arguments".to_owned(), json!(call.arguments))]));
    Part {
        function_call: Some(FunctionCall {
            id: call.id.as_deref().filter(|id| !is_made_up(id)),
            name: &call.name,
            args,
        }),
        thought_signature: call.signature.as_deref(),
        ..Part::default()
    }
}

/// The vendor's words for what is no object are `output` and `error`.
fn response(message: &Message<'_>) -> Map<String, Value> {
    let said = message.content.text("\n");
    let value: Value = serde_json::from_str(&said).unwrap_or_else(|_| json!(said));
    match (value, message.is_error) {
        (Value::Object(object), false) => object,
        (value, false) => Map::from_iter([("output".to_owned(), value)]),
        (value, true) => Map::from_iter([("error".to_owned(), value)]),
    }
}

fn tools<'a>(request: &'a ChatRequest<'_>, schemas: &mut Schemas) -> Vec<ToolSet<'a>> {
    let declarations = request.tools.iter().map(|tool| {
        let parameters = tool.parameters.and_then(|schema| schemas.converted(&schema.value()));
        Declaration {
            name: &tool.name,
            description: tool.description.as_deref(),
            parameters_json_schema: tool.parameters.filter(|_| parameters.is_none()),
            parameters,
        }
    });
    let function_declarations: Vec<_> = declarations.collect();
    match function_declarations.is_empty() {
        true => Vec::new(),
        false => vec![ToolSet { function_declarations }],
    }
}

fn calling(choice: &ToolChoice<'_>) -> Value {
    match choice {
        ToolChoice::Auto => json!({"mode": "AUTO"}),
        ToolChoice::None => json!({"mode": "NONE"}),
        ToolChoice::Required => json!({"mode": "ANY"}),
        ToolChoice::Named(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
    }
}

fn config(request: &ChatRequest<'_>, schemas: &mut Schemas) -> Map<String, Value> {
    let mut config = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(name.to_owned(), value);
        }
    };
    let numbers = [
        ("temperature", &request.temperature),
        ("topP", &request.top_p),
        ("topK", &request.top_k),
        ("seed", &request.seed),
        ("presencePenalty", &request.presence_penalty),
        ("frequencyPenalty", &request.frequency_penalty),
    ];
    for (name, number) in numbers {
        set(name, number.clone().map(Value::Number));
    }
    set("maxOutputTokens", request.max_tokens.map(Value::from));
    set("stopSequences", (!request.stop.is_empty()).then(|| json!(request.stop)));
    set("candidateCount", request.n.map(Value::from));
    set("responseLogprobs", request.logprobs.map(Value::from));
    set("logprobs", request.top_logprobs.map(Value::from));
    match &request.format {
        None => {}
        Some(Format::Text) => set("responseMimeType", Some(json!("text/plain"))),
        Some(Format::JsonObject) => set("responseMimeType", Some(json!("application/json"))),
        Some(Format::JsonSchema { schema, .. }) => {
            set("responseMimeType", Some(json!("application/json")));
            match schemas.converted(schema) {
                Some(schema) => set("responseSchema", Some(schema)),
                None => set("responseJsonSchema", Some(schema.clone())),
            }
        }
    }
    set("thinkingConfig", request.reasoning.as_ref().and_then(thinking));
    config
}

/// OpenAI's words are budgets here: those that Google gives them in its own API of that shape.
fn thinking(reasoning: &Reasoning<'_>) -> Option<Value> {
    let by_effort = match reasoning.effort.as_deref() {
        None => None,
        Some("none") => Some(0),
        Some("minimal" | "low") => Some(1024),
        Some("medium") => Some(8192),
        Some(_) => Some(24_576),
    };
    if reasoning.enabled == Some(false) {
        return Some(json!({"thinkingBudget": 0}));
    }
    // Who has it enabled wants to see it, unless it says otherwise.
    let shown = match reasoning.display.as_deref() {
        None => reasoning.enabled,
        Some(display) => Some(display != "omitted"),
    };
    let members = [
        ("includeThoughts", shown.map(Value::from)),
        ("thinkingBudget", reasoning.budget.or(by_effort).map(Value::from)),
    ];
    let members = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let config: Map<_, _> = members.collect();
    (!config.is_empty()).then(|| config.into())
}

/// Reads a whole answer.
pub(super) fn reply(reply: Reply) -> Result<ChatReply, Fault> {
    let candidates = reply.candidates.unwrap_or_default();
    // What is 0 is not written.
    let mut choices: Vec<_> = in_order(candidates, |candidate| Some(candidate.index.unwrap_or(0)))
        .map(|candidate| {
            let parts = candidate.content.and_then(|content| content.parts).unwrap_or_default();
            let mut choice = said(parts);
            let calls = !choice.tool_calls.is_empty();
            choice.finish = candidate.finish_reason.map(|word| finish(&word, calls));
            choice.logprobs = candidate.logprobs_result.map(logprobs);
            choice
        })
        .collect();
    let blocked = reply.prompt_feedback.and_then(|feedback| feedback.block_reason);
    let blocked = blocked.map(|word| Finish::new(word, FinishReason::ContentFilter));
    if choices.is_empty() {
        // A prompt that was blocked has no candidates.
        let finish = Some(blocked.ok_or_else(|| Fault::of(FaultClass::InvalidReply))?);
        choices.push(Choice {
            finish,
            ..Choice::default()
        });
    } else {
        for choice in choices.iter_mut().filter(|choice| choice.finish.is_none()) {
            choice.finish.clone_from(&blocked);
        }
    }
    Ok(ChatReply {
        id: reply.response_id,
        model: reply.model_version,
        created: None,
        choices,
        counts: reply.usage_metadata.map(Counts::from).filter(Counts::says_anything),
    })
}

fn said(parts: Vec<SaidPart>) -> Choice {
    let mut choice = Choice::default();
    for part in parts {
        if let Some(call) = part.function_call {
            choice.tool_calls.push(tool_use(call, part.thought_signature));
        } else if let Some(text) = part.text {
            match part.thought {
                Some(true) => choice.thoughts.push(Thought::Text {
                    text: text.into(),
                    signature: None,
                }),
                _ => choice.text.get_or_insert_default().push_str(&text),
            }
        }
    }
    choice
}

/// The call as it goes to callers: an id only where the vendor has given one.
pub(super) fn tool_use(call: SaidCall, signature: Option<String>) -> ToolUse<'static> {
    let args = call.args.filter(|args| !args.is_null());
    ToolUse {
        id: call.id.filter(|id| !id.is_empty()).map(Into::into),
        name: call.name.unwrap_or_default().into(),
        arguments: args.map_or_else(|| "{}".to_owned(), |args| args.to_string()).into(),
        signature: signature.map(Into::into),
    }
}

/// Calls of functions are a normal stop for the vendor.
pub(super) fn finish(word: &str, calls: bool) -> Finish {
    let reason = match word {
        "STOP" if calls => FinishReason::ToolCalls,
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "IMAGE_SAFETY" => {
            FinishReason::ContentFilter
        }
        _ => FinishReason::Other,
    };
    Finish::new(word, reason)
}

/// As OpenAI writes them.
fn logprobs(found: Logprobs) -> Value {
    let one = |chance: &Chance| json!({"token": chance.token, "logprob": chance.log_probability, "bytes": chance.token.as_bytes()});
    let mut tops = found.top_candidates.into_iter();
    let content = found.chosen_candidates.iter().map(|chosen| {
        let top: Vec<_> = tops
            .next()
            .map(|top| top.candidates.iter().map(one).collect())
            .unwrap_or_default();
        let mut chosen = one(chosen);
        if let Some(chosen) = chosen.as_object_mut() {
            chosen.insert("top_logprobs".to_owned(), top.into());
        }
        chosen
    });
    json!({"content": content.collect::<Vec<_>>(), "refusal": null})
}
