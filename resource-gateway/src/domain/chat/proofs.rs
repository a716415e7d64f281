//! Proofs that a thought is its model's own. Vendors want theirs back, and refuse those of others; a conversation may go from one
//! vendor to another with each turn. So a proof is told by what stands before it: Anthropic's and Bedrock's are as they came, those
//! that have another home are marked. A caller keeps them where its format has a place for what it need not understand.

use std::borrow::Cow;

use memchr::memmem;

use super::{Block, Message, Text, Thought};

/// Before a proof of OpenAI's Responses.
const RESPONSES: &str = "responses:";
/// Before the proof that belongs to a call, with the place of the call in its message: Gemini's `thoughtSignature`.
const CALL: &str = "call:";
/// Before what callers of Responses keep for other vendors: of a thought that is told, and of one that is not.
const TOLD: &str = "thought:";
const UNTOLD: &str = "redacted:";

/// A proof of OpenAI's Responses, in neutral words.
pub fn of_responses(proof: &str) -> String {
    [RESPONSES, proof].concat()
}

/// The proof as OpenAI's Responses gave it, if they did.
pub fn for_responses(proof: &str) -> Option<&str> {
    proof.strip_prefix(RESPONSES)
}

/// The proof of a call, for formats that have no place for it beside the call.
pub fn of_call(at: usize, proof: &str) -> String {
    format!("{CALL}{at}:{proof}")
}

fn in_call(proof: &str) -> Option<(usize, &str)> {
    let (at, proof) = proof.strip_prefix(CALL)?.split_once(':')?;
    Some((at.parse().ok()?, proof))
}

/// The proof as it came from a vendor that speaks Anthropic's words.
pub fn unmarked(proof: &str) -> Option<&str> {
    let is_marked = MARKS.iter().any(|mark| proof.starts_with(mark));
    (!proof.is_empty() && !is_marked).then_some(proof)
}

const MARKS: [&str; 2] = [RESPONSES, CALL];

/// Proofs of calls go to their calls.
pub(super) fn give_back(message: &mut Message<'_>) {
    let calls = &mut message.tool_calls;
    let mut stays = Vec::with_capacity(message.thoughts.len());
    message.thoughts.retain(|thought| {
        let proof = match thought {
            Thought::Redacted(data) => in_call(data),
            Thought::Text { .. } => None,
        };
        if let Some((at, proof)) = proof
            && let Some(call) = calls.get_mut(at)
        {
            call.signature.get_or_insert_with(|| Cow::Owned(proof.to_owned()));
        }
        stays.push(proof.is_none());
        proof.is_none()
    });
    let mut stays = stays.into_iter();
    message
        .order
        .retain(|block| *block != Block::Thought || stays.next().unwrap_or(true));
}

/// Whether a conversation in Anthropic's words holds proofs that Anthropic's vendors would refuse. What only looks so costs no more
/// than a translation.
pub fn others_in(body: &[u8]) -> bool {
    let is_marked = |value: &[u8]| MARKS.iter().any(|mark| value.starts_with(mark.as_bytes()));
    texts_of(b"\"signature\"", body).any(|text| text.starts_with(b"\"") || is_marked(text))
        || texts_of(b"\"data\"", body).any(is_marked)
}

/// What follows the opening quote of each text under a name.
fn texts_of<'b>(name: &'b [u8], body: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
    memmem::find_iter(body, name).filter_map(move |at| {
        let after = body.get(at + name.len()..)?;
        let value = after.trim_ascii_start().strip_prefix(b":")?;
        value.trim_ascii_start().strip_prefix(b"\"")
    })
}

/// What callers of Responses keep as `encrypted_content`, where there is anything to be kept.
pub fn encrypted(thought: &Thought<'_>) -> Option<String> {
    let (mark, proof) = match thought {
        Thought::Text { signature, .. } => (TOLD, signature.as_deref()?),
        Thought::Redacted(data) => (UNTOLD, data.as_ref()),
    };
    Some(match for_responses(proof) {
        Some(own) => own.to_owned(),
        None => [mark, proof].concat(),
    })
}

/// A thought as callers of Responses give it back.
pub(super) fn decrypted<'a>(text: Text<'a>, kept: &str) -> Option<Thought<'a>> {
    if kept.is_empty() {
        return None;
    }
    if let Some(data) = kept.strip_prefix(UNTOLD) {
        return Some(Thought::Redacted(Cow::Owned(data.to_owned())));
    }
    let proof = match kept.strip_prefix(TOLD) {
        Some(proof) => proof.to_owned(),
        None => of_responses(kept),
    };
    Some(match text.is_empty() && !kept.starts_with(TOLD) {
        true => Thought::Redacted(proof.into()),
        false => Thought::Text {
            text,
            signature: Some(proof.into()),
        },
    })
}

/// Whether `encrypted_content` holds what OpenAI's Responses would refuse.
pub fn is_others(kept: &str) -> bool {
    kept.starts_with(TOLD) || kept.starts_with(UNTOLD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::chat::{Content, Role, ToolUse};

    #[test]
    fn proofs_of_calls_go_to_their_calls_and_others_stay() {
        let call = |signature: Option<&'static str>| ToolUse {
            id: None,
            name: "f".into(),
            arguments: "{}".into(),
            signature: signature.map(Into::into),
        };
        let mut message = Message::new(Role::Assistant, Content::None);
        message.tool_calls = vec![call(None), call(Some("own"))];
        let redacted = |data: &str| Thought::Redacted(data.to_owned().into());
        message.thoughts = vec![
            redacted(&of_call(0, "a:b")),
            redacted("call:1:other"),
            redacted("call:7:none"),
            redacted("call:x"),
            redacted("EncRypted"),
        ];
        message.order = vec![
            Block::Thought,
            Block::Thought,
            Block::Thought,
            Block::Thought,
            Block::Call,
            Block::Thought,
            Block::Call,
        ];
        give_back(&mut message);
        let proofs: Vec<_> = message
            .tool_calls
            .iter()
            .map(|call| call.signature.as_deref())
            .collect();
        assert_eq!(proofs, [Some("a:b"), Some("own")]);
        assert_eq!(message.thoughts, [redacted("call:x"), redacted("EncRypted")]);
        let order = [Block::Thought, Block::Call, Block::Thought, Block::Call];
        assert_eq!(message.order, order);
    }

    #[test]
    fn what_anthropic_would_refuse_is_found_however_it_is_written() {
        for (body, found) in [
            (r#"{"signature":"EqQB"}"#, false),
            (r#"{"signature":""}"#, true),
            ("{\"signature\" :\n \"\"}", true),
            (r#"{"signature":"responses:gAAA"}"#, true),
            (r#"{"data":"responses:gAAA"}"#, true),
            (r#"{"data": "call:0:x"}"#, true),
            (r#"{"data":""}"#, false),
            (r#"{"data":"EmwK"}"#, false),
            (r#"{"text":"\"signature\":\"\""}"#, false),
            (r#"{"signature":null}"#, false),
            ("", false),
        ] {
            assert_eq!(others_in(body.as_bytes()), found, "{body}");
        }
        assert_eq!(unmarked("EqQB"), Some("EqQB"));
        for other in ["", "responses:x", "call:0:x"] {
            assert_eq!(unmarked(other), None);
        }
    }

    #[test]
    fn what_callers_of_responses_keep_comes_back_as_what_it_was() {
        let told = |text: &'static str, proof: &'static str| Thought::Text {
            text: text.into(),
            signature: Some(proof.into()),
        };
        for thought in [
            told("hm", "EqQB"),
            told("", "EqQB"),
            told("hm", "responses:gAAA"),
            Thought::Redacted("EmwK".into()),
            Thought::Redacted("responses:gAAA".into()),
            Thought::Redacted("call:0:x".into()),
        ] {
            let kept = encrypted(&thought).unwrap();
            let text = match &thought {
                Thought::Text { text, .. } => text.clone(),
                Thought::Redacted(_) => "".into(),
            };
            assert_eq!(is_others(&kept), kept != "gAAA", "{kept}");
            assert_eq!(decrypted(text, &kept), Some(thought));
        }
        assert_eq!(
            encrypted(&Thought::Text {
                text: "hm".into(),
                signature: None
            }),
            None
        );
        assert_eq!(decrypted("hm".into(), ""), None);
    }
}
