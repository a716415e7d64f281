mod errors;
mod requests;
mod streams;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    adapters::dialects::{
        golden::{Golden, Seen, call, foreign, streamed, target},
        openai::{OpenAiEmbeddings, OpenAiImages},
        testing::{decoded, received},
        translated::Chat,
    },
    domain::{
        call::Call,
        fault::FaultClass,
        interface::{Capability, WhenUnsupported},
        vendor::Vendor,
    },
    ports::codec::{Codec, EncodeError, Encoded, Target},
};

/// Each vendor with its fixtures' folder, and what their names begin with.
const VENDORS: [(&str, &str, &Quirks); 11] = [
    ("openai", "chat-", &PLAIN),
    ("azure-openai", "chat-", &Quirks::AZURE),
    ("deepseek", "chat-", &Quirks::DEEPSEEK),
    ("moonshot", "chat-", &Quirks::MOONSHOT),
    ("zhipu", "chat-", &Quirks::ZHIPU),
    ("volcengine-ark", "chat-", &Quirks::VOLCENGINE),
    ("mistral", "chat-", &Quirks::MISTRAL),
    ("baidu-qianfan", "chat-", &Quirks::QIANFAN),
    ("iflytek", "compat-chat-", &Quirks::SPARK),
    ("dashscope", "compat-chat-", &Quirks::DASHSCOPE),
    ("tencent", "compat-chat-", &Quirks::HUNYUAN),
];

fn chat(quirks: &'static Quirks) -> Chat<ShapedDialect> {
    Chat(ShapedDialect::new(quirks))
}

/// The row that a fixture's inputs come to.
fn row(golden: &Golden) -> Vendor {
    let mut row = Vendor::named("v", "s");
    row.credential.app_id = golden.input("appid").map(str::to_owned);
    let version = golden.input("api_version").unwrap_or("v");
    row.options.insert(API_VERSION.to_owned(), version.to_owned());
    row
}

/// What an OpenAI client sends for a fixture's parameters.
fn openai_body(golden: &Golden) -> Value {
    let mut params = golden.params();
    if let Some(seed) = params.remove("random_seed") {
        params.insert("seed".to_owned(), seed);
    }
    // The SDK writes these at the top level.
    if let Some(Value::Object(extra)) = params.remove("extra_body") {
        params.extend(extra);
    }
    params.insert("model".to_owned(), json!("route"));
    let says_so = golden.file["vendor"] == "mistral" && params.contains_key("messages");
    if says_so && !params.contains_key("stream") {
        params.insert("stream".to_owned(), json!(false));
    }
    params.into()
}

fn model(golden: &Golden) -> String {
    golden.params()["model"].as_str().unwrap().to_owned()
}

fn json_of(encoded: &Encoded) -> Value {
    serde_json::from_slice(&encoded.body.concat()).unwrap()
}

/// A call in OpenAI's words.
fn call_of(body: &Value) -> Call {
    call(Capability::Chat, body)
}
