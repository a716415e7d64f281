//! Chat in OpenAI's format for callers who speak another one, and what vendors of that format make of it.

use http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    OpenAiChat, OpenAiModels,
    calls::{Calls, Told},
    error_object, plain,
    quirks::{self, Quirks},
    usage::Usage,
    wire::is_end,
};
use crate::{
    adapters::dialects::{
        events::{ChoiceSet, EventReader, InEvents},
        reading::{if_object, in_order},
        support::{cannot, silence_unsaid},
        writing,
    },
    domain::{
        call::{Call, Voice},
        chat::{
            ChatEvent, ChatReply, ChatRequest, Choice, Counts, Finish, FinishReason, OPENAI_WORDS, Thought, ToolUse,
        },
        fault::{Fault, FaultClass},
    },
    ports::{
        chat::{ChatDialect, ChunkDecoder, Images, Support},
        codec::{Codec, EncodeError, Encoded, ModelList, Received, StreamEnd, Target},
    },
};

/// `POST /chat/completions`.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAiDialect;

/// Of a server of which nothing is known but its format.
pub(super) const SUPPORT: Support = Support {
    tools: true,
    tool_choice: true,
    parallel_tool_calls: true,
    one_call_unless_asked: false,
    images: Images::Any,
    audio: true,
    documents: true,
    stored: false,
    json_object: true,
    json_schema: true,
    temperature: true,
    top_p: true,
    // Not OpenAI's, but of most servers that speak its format.
    top_k: true,
    presence_penalty: true,
    frequency_penalty: true,
    seed: true,
    stop: usize::MAX,
    n: true,
    logprobs: true,
    user: true,
    reasoning: true,
    display: false,
    is_error: false,
    strict: true,
    names: true,
    detail: true,
    openai: &OPENAI_WORDS,
    options: true,
    second_names: &[],
    containers: &[],
};

impl ChatDialect for OpenAiDialect {
    fn path(&self) -> &'static str {
        "/chat/completions"
    }

    fn support(&self) -> Support {
        SUPPORT
    }

    fn encode(&self, request: &ChatRequest<'_>, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let mut dropped = Vec::new();
        let mut body = request.to_openai();
        // Most servers of this format know it; OpenAI itself refuses what it does not know.
        if plain::is_openais(target.vendor) && body.remove("top_k").is_some() {
            cannot("top_k", target.when_unsupported, &mut dropped)?;
        }
        let mut encoded = written(body, request, target);
        encoded.dropped.extend(dropped);
        encoded.dropped.extend(silence_unsaid(request.reasoning.as_ref()));
        Ok(encoded)
    }

    fn decode(&self, reply: &Received<'_>) -> Result<ChatReply, Fault> {
        read_reply(&reply.body)
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        error_object::decode(status, headers, body)
    }

    fn stream(&self, _: &HeaderMap) -> Box<dyn ChunkDecoder> {
        Box::new(InEvents::of(ChunkReader::of(&quirks::PLAIN)))
    }

    fn models(&self) -> Option<&dyn ModelList> {
        Some(&OpenAiModels)
    }

    fn native(&self, call: &Call) -> Option<&dyn Codec> {
        (call.voice() == Voice::OpenAi).then_some(&OpenAiChat)
    }
}

/// A translated request, without the words of other formats.
pub(super) fn written(mut body: Map<String, Value>, request: &ChatRequest<'_>, target: Target<'_>) -> Encoded {
    let dropped = plain::only(&mut body, target.vendor);
    body.insert("model".to_owned(), json!(target.model));
    let body = writing::written(&body, writing::room_for(request));
    let encoded = Encoded {
        dropped,
        ..Encoded::of(HeaderValue::from_static("application/json"), body)
    };
    if request.stream { encoded.streaming() } else { encoded }
}

/// A whole answer, or a chunk of one.
#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    created: Option<i64>,
    #[serde(default)]
    choices: Option<Vec<ReplyChoice>>,
    #[serde(default, deserialize_with = "if_object")]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct ReplyChoice {
    #[serde(default)]
    index: Option<u32>,
    #[serde(default)]
    message: Option<Said>,
    /// In place of `message`, where it is a part. Some servers repeat the whole beside the last one.
    #[serde(default)]
    delta: Option<Said>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    logprobs: Option<Value>,
    /// Moonshot's place for it.
    #[serde(default, deserialize_with = "if_object")]
    usage: Option<Usage>,
}

#[derive(Default, Deserialize)]
struct Said {
    #[serde(default)]
    content: Option<Value>,
    /// Each server has its own word for it, and some use two of them.
    #[serde(default)]
    reasoning_content: Option<Value>,
    #[serde(default)]
    reasoning: Option<Value>,
    #[serde(default)]
    thinking: Option<Value>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<SaidCall>>,
}

impl Said {
    /// Its thoughts, once.
    fn thought(&self) -> Option<String> {
        let named = [&self.reasoning_content, &self.reasoning, &self.thinking];
        let mut texts = named.into_iter().flatten().map(text_of);
        texts.find(|text| !text.is_empty())
    }
}

#[derive(Deserialize)]
struct SaidCall {
    #[serde(default)]
    index: Option<u32>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<SaidFunction>,
}

#[derive(Deserialize)]
struct SaidFunction {
    #[serde(default)]
    name: Option<String>,
    /// A JSON text; some servers send the object.
    #[serde(default)]
    arguments: Option<Value>,
}

fn parse(body: &[u8]) -> Result<Reply, Fault> {
    super::read(body)?;
    serde_json::from_slice(body).map_err(|_| Fault::of(FaultClass::InvalidReply))
}

/// Reads a whole answer.
pub(super) fn read_reply(body: &[u8]) -> Result<ChatReply, Fault> {
    let mut reply = parse(body)?;
    let choices = reply
        .choices
        .take()
        .ok_or_else(|| Fault::of(FaultClass::InvalidReply))?;
    let mut counts = reply.usage.take().map(Counts::from);
    let choices = in_order(choices, |choice| choice.index).map(|mut choice| {
        counts = counts.or(choice.usage.take().map(Counts::from));
        read_choice(choice)
    });
    let choices = choices.collect();
    Ok(ChatReply {
        id: reply.id,
        model: reply.model,
        created: reply.created,
        choices,
        counts,
    })
}

fn read_choice(choice: ReplyChoice) -> Choice {
    let said = choice.message.or(choice.delta).unwrap_or_default();
    let thought = said.thought();
    let calls = said.tool_calls.unwrap_or_default().into_iter();
    let tool_calls: Vec<_> = calls.map(read_call).collect();
    Choice {
        text: said.content.as_ref().map(text_of),
        thoughts: thought
            .map(|text| Thought::Text {
                text: text.into(),
                signature: None,
            })
            .into_iter()
            .collect(),
        refusal: said.refusal,
        finish: choice
            .finish_reason
            .filter(|word| is_end(word))
            .map(|word| finish(&word)),
        tool_calls,
        logprobs: choice.logprobs.filter(|logprobs| !logprobs.is_null()),
    }
}

fn read_call(call: SaidCall) -> ToolUse<'static> {
    let function = call.function.unwrap_or(SaidFunction {
        name: None,
        arguments: None,
    });
    ToolUse {
        id: call.id.filter(|id| !id.is_empty()).map(Into::into),
        name: function.name.unwrap_or_default().into(),
        arguments: function.arguments.as_ref().map(json_text).unwrap_or_default().into(),
        signature: None,
    }
}

/// A text; of a list of parts the texts of all of them.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let text = |part: &Value| part.get("text").and_then(Value::as_str).map(str::to_owned);
            parts.iter().filter_map(text).collect()
        }
        _ => String::new(),
    }
}

fn json_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The words of OpenAI and of those who speak its format.
pub(super) fn finish(word: &str) -> Finish {
    let reason = match word {
        "stop" | "normal" | "eos" => FinishReason::Stop,
        "length" | "max_tokens" | "model_length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" | "sensitive" => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    };
    Finish::new(word, reason)
}

/// Reads a stream of chunks.
pub(super) struct ChunkReader {
    quirks: &'static Quirks,
    told: bool,
    choices: ChoiceSet,
    calls: Calls,
    /// What was used has been told.
    counted: bool,
}

impl ChunkReader {
    pub(super) fn of(quirks: &'static Quirks) -> Self {
        Self {
            quirks,
            told: false,
            choices: ChoiceSet::default(),
            calls: Calls::default(),
            counted: false,
        }
    }

    fn chunk(&mut self, data: &[u8], events: &mut Vec<ChatEvent>) -> Result<(), Fault> {
        if self.quirks.code_fails
            && let Some(fault) = self.quirks.failure_in(data)
        {
            return Err(fault);
        }
        let chunk = parse(data).map_err(|fault| self.quirks.failure_in(data).unwrap_or(fault))?;
        if chunk.choices.is_none()
            && let Some(fault) = self.quirks.failure_in(data)
        {
            return Err(fault);
        }
        let (id, model) = (
            chunk.id.filter(|id| !id.is_empty()),
            chunk.model.filter(|model| !model.is_empty()),
        );
        if !self.told && (id.is_some() || model.is_some()) {
            self.told = id.is_some() && model.is_some();
            events.push(ChatEvent::Head { id, model });
        }
        for choice in chunk.choices.unwrap_or_default() {
            self.choice(choice, events);
        }
        self.counted |= chunk.usage.is_some();
        events.extend(chunk.usage.map(|usage| ChatEvent::Counts(usage.into())));
        Ok(())
    }

    fn choice(&mut self, read: ReplyChoice, events: &mut Vec<ChatEvent>) {
        let choice = read.index.unwrap_or(0);
        self.choices.begin(choice);
        let said = read.delta.or(read.message).unwrap_or_default();
        if let Some(text) = said.thought() {
            events.push(ChatEvent::Reasoning { choice, text });
        }
        if let Some(text) = said.content.as_ref().map(text_of).filter(|text| !text.is_empty()) {
            events.push(ChatEvent::Text { choice, text });
        }
        if let Some(text) = said.refusal.filter(|text| !text.is_empty()) {
            events.push(ChatEvent::Refusal { choice, text });
        }
        for call in said.tool_calls.unwrap_or_default() {
            self.call(choice, call, events);
        }
        if let Some(word) = read.finish_reason.filter(|word| is_end(word)) {
            self.choices.end(choice);
            let finish = finish(&word);
            events.push(ChatEvent::Finish { choice, finish });
        }
        self.counted |= read.usage.is_some();
        events.extend(read.usage.map(|usage| ChatEvent::Counts(usage.into())));
    }

    /// Tells the ends that the vendor left out, where it may.
    fn stop_unsaid(&mut self, events: &mut Vec<ChatEvent>) {
        if !self.quirks.finish_may_miss {
            return;
        }
        events.extend(self.choices.end_all().map(|choice| ChatEvent::Finish {
            choice,
            finish: Finish::new("", FinishReason::Stop),
        }));
    }

    /// Name and id of a call come once.
    fn call(&mut self, choice: u32, said: SaidCall, events: &mut Vec<ChatEvent>) {
        let function = said.function.unwrap_or(SaidFunction {
            name: None,
            arguments: None,
        });
        let told = Told {
            number: said.index.map(Into::into),
            id: said.id.as_deref().unwrap_or_default(),
            name: function.name.as_deref().unwrap_or_default(),
        };
        let Some(place) = self.calls.place(choice.into(), told) else {
            return;
        };
        let call = place.number;
        if place.begins {
            events.push(ChatEvent::ToolCall {
                choice,
                call,
                id: said.id.filter(|id| !id.is_empty()),
                name: function.name.unwrap_or_default(),
                signature: None,
            });
        }
        let fragment = function.arguments.as_ref().map(json_text);
        if let Some(fragment) = fragment.filter(|fragment| !fragment.is_empty()) {
            events.push(ChatEvent::Arguments { choice, call, fragment });
        }
    }
}

impl EventReader for ChunkReader {
    fn read(&mut self, data: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        if data == b"[DONE]" {
            self.stop_unsaid(events);
            return Some(StreamEnd::Complete);
        }
        self.chunk(data, events).err().map(StreamEnd::Failed)
    }

    /// Without `[DONE]` the last choice's finish reason is the end; without either the answer was cut off.
    fn is_over(&mut self, events: &mut Vec<ChatEvent>) -> bool {
        // What was used stands in the last chunk.
        if self.counted {
            self.stop_unsaid(events);
        }
        self.choices.are_over()
    }
}
