//! Writes neutral chat as OpenAI does: requests for vendors of that shape whose callers speak another one, and answers.

use serde_json::{Map, Value, json};

use super::{
    ChatReply, ChatRequest, Choice, Content, Counts, Finish, Format, Message, Part, PartKind, Source, Thought, Tool,
    ToolChoice, ToolUse,
};

impl ChatRequest<'_> {
    /// The request as OpenAI reads it, with the extensions that [`ChatRequest::read`] knows.
    pub fn to_openai(&self) -> Map<String, Value> {
        let mut body = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        set("messages", Some(self.messages.iter().map(message).collect()));
        set(
            "tools",
            (!self.tools.is_empty()).then(|| self.tools.iter().map(tool).collect()),
        );
        set("tool_choice", self.tool_choice.as_ref().map(tool_choice));
        set("parallel_tool_calls", self.parallel_tool_calls.map(Value::from));
        set("response_format", self.format.as_ref().map(format));
        set("max_tokens", self.max_tokens.map(Value::from));
        let numbers = [
            ("temperature", &self.temperature),
            ("top_p", &self.top_p),
            ("top_k", &self.top_k),
            ("presence_penalty", &self.presence_penalty),
            ("frequency_penalty", &self.frequency_penalty),
            ("seed", &self.seed),
        ];
        for (name, number) in numbers {
            set(name, number.clone().map(Value::Number));
        }
        set("stop", (!self.stop.is_empty()).then(|| json!(self.stop)));
        set("n", self.n.map(Value::from));
        set("logprobs", self.logprobs.map(Value::from));
        set("top_logprobs", self.top_logprobs.map(Value::from));
        set("user", self.user.as_ref().map(|user| json!(user)));
        if let Some(reasoning) = &self.reasoning {
            set(
                "reasoning_effort",
                reasoning.effort.as_ref().map(|effort| json!(effort)),
            );
            let mut thinking = match (reasoning.enabled, reasoning.budget) {
                (None, None) if reasoning.open => Some(json!({"type": "auto"})),
                (None, None) => None,
                (Some(false), _) => Some(json!({"type": "disabled"})),
                (_, Some(budget)) => Some(json!({"type": "enabled", "budget_tokens": budget})),
                (Some(true), None) => Some(json!({"type": "enabled"})),
            };
            let members = thinking.as_mut().and_then(Value::as_object_mut);
            if let (Some(display), Some(members)) = (&reasoning.display, members) {
                members.insert("display".to_owned(), json!(display));
            }
            set("thinking", thinking);
        }
        if self.stream {
            set("stream", Some(true.into()));
            set("stream_options", Some(json!({"include_usage": true})));
        }
        body.extend(self.openai.clone());
        body.extend(self.options.clone());
        body
    }
}

fn message(message: &Message<'_>) -> Value {
    let mut out = Map::from_iter([("role".to_owned(), json!(message.role.as_str()))]);
    let content = match &message.content {
        Content::None => Value::Null,
        Content::Text(text) => json!(text),
        Content::Parts(parts) => parts.iter().map(part).collect(),
    };
    out.insert("content".to_owned(), content);
    let texts = [
        ("name", &message.name),
        ("tool_call_id", &message.tool_call_id),
        ("refusal", &message.refusal),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            out.insert(name.to_owned(), json!(text));
        }
    }
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().enumerate();
        let calls = calls.map(|(at, call)| tool_use(call, at)).collect();
        out.insert("tool_calls".to_owned(), calls);
    }
    if message.is_error {
        out.insert("is_error".to_owned(), true.into());
    }
    let values = [("audio", &message.audio), ("cache_control", &message.cache)];
    for (name, value) in values {
        if let Some(value) = value {
            out.insert(name.to_owned(), value.clone());
        }
    }
    if !message.thoughts.is_empty() {
        out.extend(thinking(&message.thoughts));
    }
    Value::Object(out)
}

/// What the caller says that lies behind a link.
fn tell_media_type(source: &Source<'_>, out: &mut Value) {
    if let (
        Source::Url {
            media_type: Some(kind), ..
        },
        Some(out),
    ) = (source, out.as_object_mut())
    {
        out.insert("format".to_owned(), json!(kind));
    }
}

fn part(part: &Part<'_>) -> Value {
    let mut out = match &part.kind {
        PartKind::Text(text) => json!({"type": "text", "text": text}),
        PartKind::Image { source, detail } => {
            let mut image = json!({"url": source.to_url()});
            if let (Some(detail), Some(image)) = (detail, image.as_object_mut()) {
                image.insert("detail".to_owned(), json!(detail));
            }
            tell_media_type(source, &mut image);
            json!({"type": "image_url", "image_url": image})
        }
        PartKind::Audio { data, format } => {
            json!({"type": "input_audio", "input_audio": {"data": data, "format": format}})
        }
        PartKind::Document { source, name } => {
            let member = match source {
                Source::Base64 { .. } => "file_data",
                Source::Url { .. } => "file_url",
            };
            let mut file = json!({member: source.to_url()});
            if let (Some(name), Some(file)) = (name, file.as_object_mut()) {
                file.insert("filename".to_owned(), json!(name));
            }
            tell_media_type(source, &mut file);
            json!({"type": "file", "file": file})
        }
    };
    if let (Some(cache), Some(out)) = (&part.cache, out.as_object_mut()) {
        out.insert("cache_control".to_owned(), cache.clone());
    }
    out
}

fn tool_use(call: &ToolUse<'_>, at: usize) -> Value {
    let id = call.id.as_ref().map_or_else(|| made_up_id(at), ToString::to_string);
    let mut out = json!({"id": id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}});
    if let (Some(signature), Some(out)) = (&call.signature, out.as_object_mut()) {
        out.insert(
            "extra_content".to_owned(),
            json!({"google": {"thought_signature": signature}}),
        );
    }
    out
}

/// The name of a call that its vendor gave none. Unique within its message, which is all that an answer to it needs.
pub fn made_up_id(at: usize) -> String {
    format!("call_{at}")
}

/// The name of a call that its vendor gave none: unique in the conversation if the seed is that of one request.
pub fn named_call(seed: u64, at: u32) -> String {
    format!("call_{seed:016x}_{at}")
}

/// Whether the name of a call was made up here, so that its vendor would not know it.
pub fn is_made_up(id: &str) -> bool {
    let is_number = |text: &str| (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(rest) = id.strip_prefix("call_") else {
        return false;
    };
    match rest.split_once('_') {
        Some((seed, at)) => seed.len() == 16 && seed.bytes().all(|byte| byte.is_ascii_hexdigit()) && is_number(at),
        None => is_number(rest),
    }
}

/// `reasoning_content`, and where the vendor wants its proof back `thinking_blocks`.
pub fn thinking(thoughts: &[Thought<'_>]) -> Map<String, Value> {
    let mut out = Map::new();
    let texts = thoughts.iter().filter_map(|thought| match thought {
        Thought::Text { text, .. } => Some(text.as_ref()),
        Thought::Redacted(_) => None,
    });
    out.insert("reasoning_content".to_owned(), json!(texts.collect::<String>()));
    let proven = |thought: &Thought<'_>| match thought {
        Thought::Text { signature, .. } => signature.is_some(),
        Thought::Redacted(_) => true,
    };
    if thoughts.iter().any(proven) {
        let blocks = thoughts.iter().map(|thought| match thought {
            Thought::Text { text, signature } => json!({"type": "thinking", "thinking": text, "signature": signature}),
            Thought::Redacted(data) => json!({"type": "redacted_thinking", "data": data}),
        });
        out.insert("thinking_blocks".to_owned(), blocks.collect());
    }
    out
}

fn tool(tool: &Tool<'_>) -> Value {
    let mut function = Map::from_iter([("name".to_owned(), json!(tool.name))]);
    if let Some(description) = &tool.description {
        function.insert("description".to_owned(), json!(description));
    }
    if let Some(parameters) = &tool.parameters {
        function.insert("parameters".to_owned(), parameters.value());
    }
    if let Some(strict) = tool.strict {
        function.insert("strict".to_owned(), strict.into());
    }
    let mut out = json!({"type": "function", "function": function});
    if let (Some(cache), Some(out)) = (&tool.cache, out.as_object_mut()) {
        out.insert("cache_control".to_owned(), cache.clone());
    }
    out
}

fn tool_choice(choice: &ToolChoice<'_>) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Named(name) => json!({"type": "function", "function": {"name": name}}),
    }
}

fn format(format: &Format<'_>) -> Value {
    match format {
        Format::Text => json!({"type": "text"}),
        Format::JsonObject => json!({"type": "json_object"}),
        Format::JsonSchema {
            name,
            description,
            schema,
            strict,
        } => {
            let mut out = Map::from_iter([("name".to_owned(), json!(name)), ("schema".to_owned(), schema.clone())]);
            if let Some(description) = description {
                out.insert("description".to_owned(), json!(description));
            }
            if let Some(strict) = strict {
                out.insert("strict".to_owned(), json!(strict));
            }
            json!({"type": "json_schema", "json_schema": out})
        }
    }
}

/// The arguments of a call as the object that some vendors want.
///
/// `None` when the text is no JSON object: models write what is none, and callers send it back.
pub fn arguments_object(arguments: &str) -> Option<Map<String, Value>> {
    if arguments.trim().is_empty() {
        return Some(Map::new());
    }
    serde_json::from_str(arguments).ok()
}

impl ChatReply {
    /// The answer as OpenAI writes it. `model`, `at` and `seed` stand in for what the vendor did not say.
    pub fn to_openai(&self, model: &str, at: i64, seed: u64) -> Value {
        let choices = self.choices.iter().enumerate();
        let mut out = json!({
            "id": self.id.clone().unwrap_or_else(|| named_answer(seed)),
            "object": "chat.completion",
            "created": self.created.unwrap_or(at),
            "model": self.model.as_deref().unwrap_or(model),
            "choices": choices.map(|(at, choice)| to_openai(choice, at)).collect::<Vec<_>>(),
        });
        if let (Some(counts), Some(out)) = (&self.counts, out.as_object_mut()) {
            out.insert("usage".to_owned(), usage(counts));
        }
        out
    }
}

/// The name of an answer to which its vendor gives none.
pub fn named_answer(seed: u64) -> String {
    format!("chatcmpl-{seed:016x}")
}

fn to_openai(choice: &Choice, at: usize) -> Value {
    let mut message = Map::from_iter([
        ("role".to_owned(), json!("assistant")),
        ("content".to_owned(), json!(choice.text)),
        ("refusal".to_owned(), json!(choice.refusal)),
    ]);
    if !choice.thoughts.is_empty() {
        message.extend(thinking(&choice.thoughts));
    }
    if !choice.tool_calls.is_empty() {
        let calls = choice.tool_calls.iter().enumerate();
        let calls = calls.map(|(at, call)| tool_use(call, at)).collect();
        message.insert("tool_calls".to_owned(), calls);
    }
    json!({
        "index": at,
        "message": message,
        "logprobs": choice.logprobs,
        "finish_reason": choice.finish.as_ref().map(finish_word),
    })
}

/// OpenAI's word for an end; the vendor's own where there is no counterpart.
pub fn finish_word(finish: &Finish) -> &str {
    finish.reason.word().unwrap_or(&finish.word)
}

/// `usage`: totals that hold everything, as OpenAI's do.
pub fn usage(counts: &Counts) -> Value {
    let (input, output) = (counts.all_input(), counts.all_output());
    let mut out =
        json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input.saturating_add(output)});
    let Some(members) = out.as_object_mut() else { return out };
    if let Some(cached) = counts.cached_input {
        members.insert("prompt_tokens_details".to_owned(), json!({"cached_tokens": cached}));
    }
    if let Some(reasoning) = counts.reasoning {
        members.insert(
            "completion_tokens_details".to_owned(),
            json!({"reasoning_tokens": reasoning}),
        );
    }
    out
}
