//! A whole answer out of its pieces, for vendors that only ever send pieces.

use std::collections::BTreeMap;

use crate::domain::chat::{ChatEvent, ChatReply, Choice, Thought, ToolUse};

/// Puts the pieces together.
pub(super) fn collect(events: Vec<ChatEvent>) -> ChatReply {
    let mut reply = ChatReply::default();
    // By choice and number, for calls stand in the order of their numbers, whichever began first.
    let mut calls: BTreeMap<(u32, u32), ToolUse> = BTreeMap::new();
    for event in events {
        match event {
            ChatEvent::Head { id, model } => {
                reply.id = id.or(reply.id.take());
                reply.model = model.or(reply.model.take());
            }
            ChatEvent::Counts(counts) => reply.counts = Some(reply.counts.unwrap_or_default().merged(counts)),
            ChatEvent::Text { choice, text } => {
                choice_of(&mut reply, choice)
                    .text
                    .get_or_insert_default()
                    .push_str(&text);
            }
            ChatEvent::Refusal { choice, text } => {
                choice_of(&mut reply, choice)
                    .refusal
                    .get_or_insert_default()
                    .push_str(&text);
            }
            ChatEvent::Reasoning { choice, text } => think(choice_of(&mut reply, choice), &text),
            ChatEvent::ReasoningSignature { choice, signature: of } => {
                if let Some(Thought::Text { signature, .. }) = choice_of(&mut reply, choice).thoughts.last_mut() {
                    *signature = Some(of.into());
                }
            }
            ChatEvent::RedactedReasoning { choice, data } => {
                choice_of(&mut reply, choice)
                    .thoughts
                    .push(Thought::Redacted(data.into()));
            }
            ChatEvent::ToolCall {
                choice,
                call,
                id,
                name,
                signature,
            } => {
                calls.entry((choice, call)).or_insert_with(|| ToolUse {
                    id: id.map(Into::into),
                    name: name.into(),
                    arguments: "".into(),
                    signature: signature.map(Into::into),
                });
            }
            ChatEvent::Arguments { choice, call, fragment } => {
                if let Some(known) = calls.get_mut(&(choice, call)) {
                    known.arguments.to_mut().push_str(&fragment);
                }
            }
            ChatEvent::Finish { choice, finish } => choice_of(&mut reply, choice).finish = Some(finish),
        }
    }
    for ((choice, _), call) in calls {
        choice_of(&mut reply, choice).tool_calls.push(call);
    }
    reply
}

/// No vendor answers more often at once.
const MOST_CHOICES: usize = 128;

/// The choice of that number; one that cannot be is the last that can.
fn choice_of(reply: &mut ChatReply, number: u32) -> &mut Choice {
    let at = usize::try_from(number).unwrap_or(usize::MAX).min(MOST_CHOICES - 1);
    while reply.choices.len() <= at {
        reply.choices.push(Choice::default());
    }
    #[expect(clippy::indexing_slicing, reason = "it was made above")]
    &mut reply.choices[at]
}

/// A thought goes on until it is signed.
fn think(choice: &mut Choice, more: &str) {
    match choice.thoughts.last_mut() {
        Some(Thought::Text { text, signature: None }) => text.to_mut().push_str(more),
        _ => choice.thoughts.push(Thought::Text {
            text: more.to_owned().into(),
            signature: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::chat::{Counts, Finish, FinishReason};

    fn text(choice: u32, text: &str) -> ChatEvent {
        ChatEvent::Text {
            choice,
            text: text.to_owned(),
        }
    }

    fn reasoning(text: &str) -> ChatEvent {
        ChatEvent::Reasoning {
            choice: 0,
            text: text.to_owned(),
        }
    }

    #[test]
    fn texts_and_counts_of_several_choices_become_one_answer() {
        let counts = |input, output| {
            ChatEvent::Counts(Counts {
                input,
                output,
                ..Counts::default()
            })
        };
        let head = |id: Option<&str>, model: Option<&str>| ChatEvent::Head {
            id: id.map(str::to_owned),
            model: model.map(str::to_owned),
        };
        let reply = collect(vec![
            head(Some("a"), None),
            text(0, "He"),
            text(1, "x"),
            text(0, "llo"),
            ChatEvent::Refusal {
                choice: 1,
                text: "no".to_owned(),
            },
            ChatEvent::Finish {
                choice: 0,
                finish: Finish::new("stop", FinishReason::Stop),
            },
            counts(Some(3), None),
            counts(Some(3), Some(2)),
            head(None, Some("m")),
        ]);
        assert_eq!((reply.id.as_deref(), reply.model.as_deref()), (Some("a"), Some("m")));
        let counts = reply.counts.unwrap();
        assert_eq!((counts.input, counts.output), (Some(3), Some(2)));
        let [first, second] = reply.choices.try_into().unwrap();
        assert_eq!(first.text.as_deref(), Some("Hello"));
        assert_eq!(first.finish.unwrap().reason, FinishReason::Stop);
        assert_eq!(
            (second.text.as_deref(), second.refusal.as_deref()),
            (Some("x"), Some("no"))
        );
    }

    #[test]
    fn thoughts_go_on_until_they_are_signed() {
        let reply = collect(vec![
            reasoning("h"),
            reasoning("m"),
            ChatEvent::ReasoningSignature {
                choice: 0,
                signature: "s".to_owned(),
            },
            reasoning("more"),
            ChatEvent::RedactedReasoning {
                choice: 0,
                data: "r".to_owned(),
            },
        ]);
        let thought = |text: &'static str, signature: Option<&'static str>| Thought::Text {
            text: text.into(),
            signature: signature.map(Into::into),
        };
        assert_eq!(
            reply.choices[0].thoughts,
            [
                thought("hm", Some("s")),
                thought("more", None),
                Thought::Redacted("r".into())
            ]
        );
    }

    #[test]
    fn arguments_go_to_the_call_that_they_belong_to() {
        let call = |call, name: &str| ChatEvent::ToolCall {
            choice: 0,
            call,
            id: Some(format!("c{call}")),
            name: name.to_owned(),
            signature: None,
        };
        let arguments = |call, fragment: &str| ChatEvent::Arguments {
            choice: 0,
            call,
            fragment: fragment.to_owned(),
        };
        let reply = collect(vec![
            // In whichever order they began.
            call(1, "g"),
            call(0, "f"),
            arguments(0, "{\"a\""),
            arguments(1, "{}"),
            arguments(0, ":1}"),
            arguments(7, "nobody's"),
        ]);
        let calls = reply.choices[0].tool_calls.iter();
        let calls: Vec<_> = calls.map(|call| (&*call.name, &*call.arguments)).collect();
        assert_eq!(calls, [("f", "{\"a\":1}"), ("g", "{}")]);
    }

    #[test]
    fn a_number_that_no_choice_has_makes_no_memory_full() {
        let reply = collect(vec![text(u32::MAX, "x")]);
        assert_eq!(reply.choices.len(), MOST_CHOICES);
    }
}
