//! Streams that pass as the bytes that came, and are read on the way.

use bytes::{Bytes, BytesMut};

use super::{reading::rest_of, translated::Heard};
use crate::{
    domain::{
        chat::ChatEvent,
        fault::{Fault, FaultClass},
        said::Said,
        sse::{Events, SseSplitter},
    },
    ports::codec::{Progress, Pushed, StreamDecoder, StreamEnd},
};

/// Reads the events of a wire format one by one.
pub(super) trait EventReader: Send {
    /// Reads the data of one event.
    fn read(&mut self, data: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd>;
    /// What is appended when the vendor's body ends here without saying so; `None` when the answer was cut off.
    fn unsaid_end(&self) -> Option<&'static [u8]>;
}

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
            let end = self.reader.read(&data, &mut self.events);
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
                end: Some(StreamEnd::Failed(Fault::of(FaultClass::InvalidReply))),
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
            pushed.end = Some(match self.reader.unsaid_end() {
                Some(unsaid) => {
                    let mut out = BytesMut::from(pushed.out.as_ref());
                    if !out.is_empty() && !out.ends_with(b"\n\n") {
                        out.extend_from_slice(b"\n\n");
                    }
                    out.extend_from_slice(unsaid);
                    pushed.out = out.freeze();
                    StreamEnd::Complete
                }
                None => StreamEnd::Failed(Fault::of(FaultClass::Transport)),
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
