//! The reference signer of the documentation, compiled and held to its vectors.

#[path = "../../../docs/signers/hexgate_signer.rs"]
#[expect(
    clippy::cast_possible_truncation,
    clippy::many_single_char_names,
    unreachable_pub,
    reason = "it is written to be copied, in as few lines as will do"
)]
mod reference;

pub(crate) use reference::{Key, Request, Signed, Stamp, sign};
use serde_json::Value;

pub(crate) fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../docs/signers/vectors.json")).unwrap()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}
