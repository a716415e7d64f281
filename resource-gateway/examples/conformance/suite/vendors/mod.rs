//! For each vendor: what its SDK was told, as a caller of the gateway would say it.

mod anthropic;
mod baidu;
mod bedrock;
mod openai;
mod tencent;

use super::{Fixture, Suite};

type Player = fn(&Fixture, &Suite) -> Result<(), String>;

/// One line for each vendor.
const PLAYERS: [(&str, Player); 5] = [
    ("anthropic", anthropic::play),
    ("aws-bedrock", bedrock::play),
    ("baidu", baidu::play),
    ("openai", openai::play),
    ("tencent", tencent::play),
];

/// Plays a fixture as its vendor's.
pub(crate) fn play(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    let player = PLAYERS.iter().find(|(vendor, _)| *vendor == fixture.vendor());
    let (_, play) = player.ok_or_else(|| format!("there is no vendor {}", fixture.vendor()))?;
    play(fixture, suite)
}
