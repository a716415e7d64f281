//! For each vendor: what its SDK was told, as a caller of the gateway would say it.

mod anthropic;
mod baidu;
mod bedrock;
mod cohere;
mod dashscope;
mod gemini;
mod ollama;
mod openai;
mod openai_shaped;
mod tencent;

use super::{Fixture, Suite};

type Player = fn(&Fixture, &Suite) -> Result<(), String>;

/// One line for each vendor.
const PLAYERS: &[(&str, Player)] = &[
    ("anthropic", anthropic::play),
    ("aws-bedrock", bedrock::play),
    ("baidu", baidu::play),
    ("cohere", cohere::play),
    ("gemini", gemini::play),
    ("ollama", ollama::play),
    ("openai", openai::play),
    ("tencent", tencent::play),
    ("azure-openai", openai_shaped::azure),
    ("deepseek", openai_shaped::own),
    ("moonshot", openai_shaped::own),
    ("zhipu", openai_shaped::zhipu),
    ("volcengine-ark", openai_shaped::ark),
    ("mistral", openai_shaped::mistral),
    ("baidu-qianfan", openai_shaped::qianfan),
    ("iflytek", openai_shaped::spark),
    ("dashscope", dashscope::play),
];

/// Plays a fixture as its vendor's.
pub(crate) fn play(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    let player = PLAYERS.iter().find(|(vendor, _)| *vendor == fixture.vendor());
    let (_, play) = player.ok_or_else(|| format!("there is no vendor {}", fixture.vendor()))?;
    play(fixture, suite)
}
