//! What a chat request asks, whatever its wire format, and the answer to it: always the same one to the same request.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::shape::Picture;

/// How tools may be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Choice {
    #[default]
    Auto,
    None,
    Required,
    Named(String),
}

#[derive(Debug, Clone)]
pub struct Tool {
    pub name: String,
    pub schema: Value,
}

/// A chat request as its vendor understood it.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub model: String,
    pub stream: bool,
    pub messages: usize,
    pub system: Option<String>,
    /// The last text that a user said.
    pub user: String,
    pub stop: Vec<String>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub max_tokens: Option<u64>,
    /// So many tokens are too little room where the vendor takes no fewer.
    pub little: u64,
    pub seed: Option<i64>,
    pub pictures: Vec<Picture>,
    pub tools: Vec<Tool>,
    pub choice: Choice,
    /// One call at a time.
    pub serial: bool,
    /// What came back from the tools since the last turn of a user's.
    pub results: Vec<String>,
    /// The answer is to be JSON, of this schema if one was given.
    pub json: Option<Value>,
    pub thinking: bool,
    /// Usage was asked for, where a vendor sends none unasked.
    pub usage: bool,
}

impl Asked {
    pub fn says(&mut self, system: &str) {
        let before = self.system.take();
        self.system = Some(before.map_or_else(|| system.to_owned(), |before| format!("{before}\n{system}")));
    }

    /// A user spoke: what tools had said before is history.
    pub fn hears(&mut self, text: &str) {
        self.results.clear();
        text.clone_into(&mut self.user);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    Stop,
    Length,
    ToolCalls,
}

#[derive(Debug, Clone)]
pub struct Call {
    pub name: String,
    pub arguments: Value,
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub reasoning: Option<String>,
    pub text: String,
    pub calls: Vec<Call>,
    pub finish: Finish,
}

/// What every answer costs: all of the input, how much of that was cached, and the output.
pub const INPUT: u64 = 30;
pub const CACHED: u64 = 4;
pub const OUTPUT: u64 = 12;

/// How usage is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Telling {
    #[default]
    Usual,
    Missing,
    /// Input in one place, output in another.
    Split,
    /// After the finish reason, in a message of its own.
    Late,
}

pub fn answer(asked: &Asked) -> Answer {
    let plain = |text: String, finish| Answer {
        reasoning: asked.thinking.then(|| "Let me think: héllo wörld.".to_owned()),
        text,
        calls: Vec::new(),
        finish,
    };
    if !asked.results.is_empty() {
        return plain(format!("The tools said: {}", asked.results.join(" | ")), Finish::Stop);
    }
    let calls = calls(asked);
    if !calls.is_empty() {
        return Answer {
            calls,
            ..plain(String::new(), Finish::ToolCalls)
        };
    }
    // Too little room for a whole answer.
    if asked.max_tokens.is_some_and(|most| most <= asked.little.max(4)) {
        return plain("One two".to_owned(), Finish::Length);
    }
    if let Some(schema) = &asked.json {
        return plain(example(schema, "Zürich").to_string(), Finish::Stop);
    }
    plain(format!("Understood {} — 你好, wörld 🙂", facts(asked)), Finish::Stop)
}

/// What of the request arrived, for a test to compare.
fn facts(asked: &Asked) -> Value {
    let mut facts = json!({"model": asked.model, "messages": asked.messages, "user": asked.user});
    let mut add = |name: &str, value: Value| {
        if !value.is_null() && value != json!([]) {
            facts[name] = value;
        }
    };
    add("system", json!(asked.system));
    add("stop", json!(asked.stop));
    add("temperature", json!(asked.temperature));
    add("top_p", json!(asked.top_p));
    add("max_tokens", json!(asked.max_tokens));
    add("seed", json!(asked.seed));
    add("pictures", asked.pictures.iter().map(seen).collect());
    facts
}

/// A picture's length and the beginning of its digest.
fn seen(picture: &Picture) -> Value {
    match picture {
        Picture::Url(url) => url.clone().into(),
        Picture::Bytes(bytes) => {
            let digest = Sha256::digest(bytes);
            let start: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
            format!("{}:{start}", bytes.len()).into()
        }
    }
}

fn calls(asked: &Asked) -> Vec<Call> {
    let tool = match &asked.choice {
        Choice::None => None,
        Choice::Named(name) => asked.tools.iter().find(|tool| tool.name == *name),
        Choice::Auto | Choice::Required => asked.tools.first(),
    };
    let Some(tool) = tool else { return Vec::new() };
    let call = |city: &str| Call {
        name: tool.name.clone(),
        arguments: example(&tool.schema, city),
    };
    let mut calls = vec![call("Zürich")];
    if asked.user.contains("parallel") && !asked.serial {
        calls.push(call("北京 \"quoted\""));
    }
    calls
}

/// A value that fits a schema: an object with its first property.
fn example(schema: &Value, text: &str) -> Value {
    let kind = schema["type"].as_str().unwrap_or("object").to_lowercase();
    if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
        return first.clone();
    }
    match kind.as_str() {
        "string" => text.into(),
        "integer" | "number" => 7.into(),
        "boolean" => true.into(),
        "array" => json!([example(&schema["items"], text)]),
        _ => {
            let mut object = serde_json::Map::new();
            if let Some((name, property)) = schema["properties"].as_object().and_then(|all| all.iter().next()) {
                object.insert(name.clone(), example(property, text));
            }
            object.into()
        }
    }
}

/// A text in pieces of one to four characters.
pub fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    let mut length = 1;
    while !rest.is_empty() {
        let kept = rest.split_off(length.min(rest.len()));
        pieces.push(rest.into_iter().collect());
        rest = kept;
        length = length % 4 + 1;
    }
    pieces
}
