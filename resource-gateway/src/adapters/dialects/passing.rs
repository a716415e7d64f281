//! Streams that pass as the bytes that came, and are read on the way.

use bytes::Bytes;

use super::{
    events::{EventReader, cut_off, rest_of, unreadable, with_end},
    translated::Heard,
};
use crate::{
    domain::{
        chat::ChatEvent,
        said::Said,
        sse::{Events, SseSplitter},
    },
    ports::codec::{Progress, Pushed, StreamDecoder, StreamEnd},
};

/// Passes whole events on.
#[derive(Default)]
pub(super) struct Passing<R> {
    splitter: SseSplitter,
    reader: R,
    heard: Heard,
    /// Used again and again.
    events: Vec<ChatEvent>,
}

impl<R: EventReader> Passing<R> {
    fn read(&mut self, piece: Bytes) -> Pushed {
        for event in Events::of(&piece) {
            let Some(data) = event.data else { continue };
            let data = data.trim_ascii();
            if data.is_empty() {
                continue;
            }
            let end = self.reader.read(data, &mut self.events);
            for heard in self.events.drain(..) {
                self.heard.note(&heard);
            }
            let out = match &end {
                None => continue,
                Some(StreamEnd::Complete) => piece.slice(..event.end),
                // The gateway tells of a failure in its own words.
                Some(StreamEnd::Failed(_)) => piece.slice(..event.start),
            };
            return Pushed { out, end };
        }
        Pushed { out: piece, end: None }
    }
}

impl<R: EventReader> StreamDecoder for Passing<R> {
    fn push(&mut self, bytes: Bytes) -> Pushed {
        match self.splitter.push(bytes) {
            Ok(piece) => self.read(piece),
            Err(_) => Pushed {
                out: Bytes::new(),
                end: Some(unreadable()),
            },
        }
    }

    fn finish(&mut self) -> Pushed {
        let rest = rest_of(&mut self.splitter);
        let mut pushed = match rest.as_ref() {
            [] => Pushed {
                out: Bytes::new(),
                end: None,
            },
            _ => self.read(rest),
        };
        if pushed.end.is_none() {
            pushed.end = Some(match self.reader.is_over(&mut self.events) {
                true => {
                    pushed.out = with_end(&pushed.out, R::UNSAID_END);
                    StreamEnd::Complete
                }
                false => cut_off(),
            });
        }
        pushed
    }

    fn progress(&self) -> Progress {
        self.heard.progress()
    }

    fn take_said(&mut self) -> Said {
        self.heard.take_said()
    }
}
