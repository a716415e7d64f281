//! Streamed answers: events, of which the last says why it is the last.

use super::{convert, faults, wire::Event};
use crate::{
    adapters::dialects::events::{EventReader, unreadable},
    domain::{chat::ChatEvent, fault::FaultClass},
    ports::codec::StreamEnd,
};

/// There is one answer.
const CHOICE: u32 = 0;

/// Reads events.
#[derive(Debug, Default)]
pub(super) struct Reader;

impl EventReader for Reader {
    fn read(&mut self, data: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        let Ok(event) = serde_json::from_slice::<Event>(data) else {
            return Some(unreadable());
        };
        if let Some(error) = event.error {
            return Some(StreamEnd::Failed(faults::of_error(&error, FaultClass::ServerError)));
        }
        if let Some(text) = event.text.filter(|text| !text.is_empty()) {
            events.push(ChatEvent::Text { choice: CHOICE, text });
        }
        events.extend(event.used.map(|used| ChatEvent::Counts(used.into())));
        let word = event.end?;
        events.push(ChatEvent::Finish {
            choice: CHOICE,
            finish: convert::finish(&word),
        });
        Some(StreamEnd::Complete)
    }

    /// The event with the reason is the last one.
    fn is_over(&mut self, _: &mut Vec<ChatEvent>) -> bool {
        false
    }
}
