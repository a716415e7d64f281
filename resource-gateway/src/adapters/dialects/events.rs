//! Streams of server-sent events, one by one: what is alike in every dialect that has them.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::reading::is_whole;
use crate::{
    domain::{
        chat::ChatEvent,
        fault::{Fault, FaultClass},
        sse::{Events, SseSplitter},
    },
    ports::{chat::ChunkDecoder, codec::StreamEnd},
};

/// Reads the events of a wire format.
pub(super) trait EventReader: Send {
    /// What is appended, for callers who get the vendor's own bytes, to an answer that was over without saying so.
    const UNSAID_END: &'static [u8] = b"";

    /// Reads the data of one event. It is trimmed, and never empty.
    fn read(&mut self, data: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd>;

    /// The same, for those who look at the event's other lines as well.
    fn read_event(&mut self, _whole: &[u8], data: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        self.read(data, events)
    }

    /// The vendor's body has ended without saying so: whether the answer was over. If not it was cut off.
    fn is_over(&mut self, events: &mut Vec<ChatEvent>) -> bool;
}

/// Decodes a stream by a reader of its events, however it is cut.
#[derive(Default)]
pub(super) struct InEvents<R> {
    splitter: SseSplitter,
    reader: R,
}

impl<R> InEvents<R> {
    pub(super) fn of(reader: R) -> Self {
        let splitter = SseSplitter::default();
        Self { splitter, reader }
    }
}

impl<R> fmt::Debug for InEvents<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InEvents").finish_non_exhaustive()
    }
}

impl<R: EventReader> InEvents<R> {
    fn read(&mut self, piece: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        Events::of(piece).find_map(|event| {
            let data = event.data?;
            match data.trim_ascii() {
                [] => None,
                data => {
                    let whole = piece.get(event.start..event.end).unwrap_or_default();
                    self.reader.read_event(whole, data, events)
                }
            }
        })
    }
}

impl<R: EventReader> ChunkDecoder for InEvents<R> {
    fn push(&mut self, bytes: Bytes, events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        match self.splitter.push(bytes) {
            Ok(piece) => self.read(&piece, events),
            Err(_) => Some(unreadable()),
        }
    }

    fn finish(&mut self, events: &mut Vec<ChatEvent>) -> StreamEnd {
        let rest = rest_of(&mut self.splitter);
        if let Some(end) = self.read(&rest, events) {
            return end;
        }
        match self.reader.is_over(events) {
            true => StreamEnd::Complete,
            false => cut_off(),
        }
    }
}

/// What came is not the format.
pub(super) fn unreadable() -> StreamEnd {
    StreamEnd::Failed(Fault::of(FaultClass::InvalidReply))
}

/// The body ended, and the answer was not over.
pub(super) fn cut_off() -> StreamEnd {
    StreamEnd::Failed(Fault::of(FaultClass::Transport))
}

/// What is left of a stream that has ended: an event without its blank line, if it is whole. Half an event is what a cut connection
/// leaves; it tells nothing, whatever it looks like.
pub(super) fn rest_of(splitter: &mut SseSplitter) -> Bytes {
    let rest = splitter.finish();
    let mut data = Events::of(&rest).filter_map(|event| event.data);
    let is_whole = data.next().is_some_and(|data| is_whole(&data));
    drop(data);
    if is_whole { rest } else { Bytes::new() }
}

/// Events with one more behind them; the last of them may lack its blank line.
pub(super) fn with_end(events: &Bytes, end: &[u8]) -> Bytes {
    let mut out = BytesMut::from(events.as_ref());
    if !out.is_empty() && !out.ends_with(b"\n\n") {
        out.extend_from_slice(b"\n\n");
    }
    out.extend_from_slice(end);
    out.freeze()
}

/// The choices of an answer that have begun, and those of them that have ended: a bit for each; those far out share the last one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ChoiceSet {
    begun: u128,
    ended: u128,
}

impl ChoiceSet {
    const fn bit(choice: u32) -> u128 {
        let last = u128::BITS - 1;
        1 << if choice < last { choice } else { last }
    }

    pub(super) fn begin(&mut self, choice: u32) {
        self.begun |= Self::bit(choice);
    }

    /// Answers whether it had not ended before.
    pub(super) fn end(&mut self, choice: u32) -> bool {
        let bit = Self::bit(choice);
        let is_news = self.ended & bit == 0;
        self.begun |= bit;
        self.ended |= bit;
        is_news
    }

    /// Ends what is open; answers what that was.
    pub(super) fn end_all(&mut self) -> impl Iterator<Item = u32> + use<> {
        let open = self.begun & !self.ended;
        self.ended |= open;
        (0..u128::BITS).filter(move |choice| open >> choice & 1 == 1)
    }

    /// There was one, and none is open.
    pub(super) const fn are_over(self) -> bool {
        self.begun != 0 && self.ended == self.begun
    }

    pub(super) const fn are_open(self) -> bool {
        self.ended != self.begun
    }

    pub(super) const fn have_begun(self) -> bool {
        self.begun != 0
    }

    /// What either of two parts of a stream told.
    pub(super) const fn joined(self, other: Self) -> Self {
        Self {
            begun: self.begun | other.begun,
            ended: self.ended | other.ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_over_when_each_that_began_has_ended() {
        let mut choices = ChoiceSet::default();
        assert!(!choices.are_over() && !choices.are_open() && !choices.have_begun());
        choices.begin(0);
        choices.begin(126);
        assert!(choices.are_open() && choices.have_begun());
        assert!(choices.end(0) && !choices.end(0));
        assert!(!choices.are_over());
        assert!(choices.end(126));
        assert!(choices.are_over());
    }

    #[test]
    fn choices_far_out_share_one_end() {
        let mut choices = ChoiceSet::default();
        choices.begin(127);
        choices.begin(u32::MAX);
        assert_eq!(choices.end_all().collect::<Vec<_>>(), [127]);
        assert!(choices.are_over());
        assert!(!choices.end(128));
    }

    #[test]
    fn whatever_is_open_ends_once() {
        let mut choices = ChoiceSet::default();
        choices.begin(0);
        choices.begin(2);
        choices.end(2);
        let mut more = ChoiceSet::default();
        more.begin(5);
        choices = choices.joined(more);
        assert_eq!(choices.end_all().collect::<Vec<_>>(), [0, 5]);
        assert_eq!(choices.end_all().count(), 0);
    }

    #[test]
    fn an_end_stands_behind_whole_events() {
        for (events, wanted) in [
            ("", "end"),
            ("data: 1\n\n", "data: 1\n\nend"),
            ("data: 1", "data: 1\n\nend"),
        ] {
            assert_eq!(with_end(&Bytes::from_static(events.as_bytes()), b"end"), wanted);
        }
    }

    #[test]
    fn what_is_left_of_a_stream_is_an_event_or_nothing() {
        for (rest, is_whole) in [
            ("data: {\"a\":1}", true),
            ("event: x\ndata: {\"a\":\ndata: 1}\n", true),
            ("data: [DONE]", true),
            ("data: {\"a\":", false),
            ("data: [DON", false),
            ("data: 1", false),
            ("event: x\n", false),
            (": keep-alive", false),
            ("", false),
        ] {
            let mut splitter = SseSplitter::default();
            let before = splitter.push(Bytes::copy_from_slice(rest.as_bytes())).unwrap();
            assert!(before.is_empty());
            assert_eq!(!rest_of(&mut splitter).is_empty(), is_whole, "{rest}");
        }
    }
}
