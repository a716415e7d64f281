//! Server-sent events, cut out of bytes that arrive in any split (WHATWG HTML §9.2.6).
//!
//! Lines end in LF, CRLF or a bare CR; a blank line ends an event. Events are handed on as the bytes that came, so that
//! nothing a vendor sends is lost on the way.

use std::borrow::Cow;

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::{memchr2, memrchr2};

/// An event that is not complete after this many bytes is not waited for: memory is bounded per stream.
pub const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// The event is longer than [`MAX_EVENT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is too long")]
pub struct EventTooLong;

/// Collects bytes until events are complete.
#[derive(Debug, Default)]
pub struct SseSplitter {
    /// The beginning of an event whose end has not come yet.
    carry: BytesMut,
    /// The first bytes have been looked at.
    begun: bool,
}

/// What a stream may begin with without meaning anything.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

impl SseSplitter {
    /// Takes bytes as they came; answers whole events, as many as there are by now. What arrives whole leaves as it is,
    /// without a copy.
    ///
    /// # Errors
    /// [`EventTooLong`].
    pub fn push(&mut self, mut bytes: Bytes) -> Result<Bytes, EventTooLong> {
        if !self.begun {
            let Some(first) = self.begin(bytes) else {
                return Ok(Bytes::new());
            };
            bytes = first;
        }
        if self.carry.is_empty() {
            let end = last_boundary(&bytes, 0).unwrap_or(0);
            let whole = bytes.split_to(end);
            self.keep(&bytes)?;
            return Ok(whole);
        }
        let old = self.carry.len();
        self.keep(&bytes)?;
        Ok(match last_boundary(&self.carry, old) {
            Some(end) => self.carry.split_to(end).freeze(),
            None => Bytes::new(),
        })
    }

    /// Leaves out the mark, which would hide the first event. `None`: there is too little to tell whether it is one.
    fn begin(&mut self, mut bytes: Bytes) -> Option<Bytes> {
        if !self.carry.is_empty() {
            self.carry.extend_from_slice(&bytes);
            bytes = self.carry.split().freeze();
        }
        if bytes.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(&bytes) {
            self.carry.extend_from_slice(&bytes);
            return None;
        }
        self.begun = true;
        if bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.advance(BYTE_ORDER_MARK.len());
        }
        Some(bytes)
    }

    /// What is left when the stream has ended: an event without its blank line. Some vendors leave the last one out.
    pub fn finish(&mut self) -> Bytes {
        self.carry.split().freeze()
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), EventTooLong> {
        if self.carry.len() + bytes.len() > MAX_EVENT_BYTES {
            return Err(EventTooLong);
        }
        self.carry.extend_from_slice(bytes);
        Ok(())
    }
}

/// Where the last blank line ends, if it ends after `from`. The bytes up to `from` hold none, so they are not searched again: at
/// most the two before a line's end are looked at. Where lines end in CRLF, a CR at the end of what is there is the first half of an
/// end: without the other half nobody downstream who knows such lines alone would see the event.
fn last_boundary(bytes: &[u8], from: usize) -> Option<usize> {
    last_boundary_by(|new| memrchr2(b'\n', b'\r', new), bytes, from)
}

fn last_boundary_by(mut last_end: impl FnMut(&[u8]) -> Option<usize>, bytes: &[u8], from: usize) -> Option<usize> {
    let is_half = |end: usize| bytes.get(..end).is_some_and(|bytes| bytes.ends_with(b"\r\n\r"));
    let from = from - usize::from(is_half(from));
    let mut end = bytes.len();
    while end > from {
        end = from + last_end(bytes.get(from..end)?)? + 1;
        let line_end = match bytes.get(..end)? {
            [.., b'\r', b'\n'] => end - 2,
            _ => end - 1,
        };
        // Blank: the terminator follows another one, or nothing at all.
        let is_blank = line_end == 0 || matches!(bytes.get(line_end - 1), Some(b'\n' | b'\r'));
        if is_blank && !(end == bytes.len() && is_half(end)) {
            return Some(end);
        }
        end = line_end;
    }
    None
}

/// One event of a piece that holds whole events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// Where the event, blank line included, begins and ends in the piece.
    pub start: usize,
    pub end: usize,
    /// Its `data` lines, joined by LF. `None`: a comment, a keep-alive, an event without data.
    pub data: Option<Cow<'a, [u8]>>,
}

/// Walks through the events of a piece.
#[derive(Debug)]
pub struct Events<'a> {
    piece: &'a [u8],
    at: usize,
}

impl<'a> Events<'a> {
    pub fn of(piece: &'a [u8]) -> Self {
        Self { piece, at: 0 }
    }

    /// The next line without its terminator.
    fn line(&mut self) -> Option<&'a [u8]> {
        let rest = self.piece.get(self.at..).filter(|rest| !rest.is_empty())?;
        let Some(length) = memchr2(b'\n', b'\r', rest) else {
            self.at = self.piece.len();
            return Some(rest);
        };
        let crlf = rest.get(length..length + 2) == Some(b"\r\n");
        self.at += length + if crlf { 2 } else { 1 };
        rest.get(..length)
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        let start = self.at;
        let mut data: Option<Cow<'a, [u8]>> = None;
        while let Some(line) = self.line() {
            if line.is_empty() {
                break;
            }
            let Some(value) = line.strip_prefix(b"data") else {
                continue;
            };
            let value = match value {
                [b':', b' ', value @ ..] | [b':', value @ ..] => value,
                [] => value,
                // Another field whose name begins alike.
                _ => continue,
            };
            match &mut data {
                None => data = Some(Cow::Borrowed(value)),
                Some(joined) => {
                    let joined = joined.to_mut();
                    joined.push(b'\n');
                    joined.extend_from_slice(value);
                }
            }
        }
        (self.at > start).then_some(Event {
            start,
            end: self.at,
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn data_of(pieces: &[Bytes]) -> Vec<Vec<u8>> {
        let mut splitter = SseSplitter::default();
        let mut found = Vec::new();
        let mut collect = |piece: &Bytes| {
            found.extend(Events::of(piece).filter_map(|event| event.data.map(Cow::into_owned)));
        };
        for piece in pieces {
            collect(&splitter.push(piece.clone()).unwrap());
        }
        collect(&splitter.finish());
        found
    }

    fn split_at(text: &[u8], cuts: &[usize]) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts.iter().copied().chain([text.len()]) {
            pieces.push(Bytes::copy_from_slice(&text[from..cut]));
            from = cut;
        }
        pieces
    }

    const SAMPLES: &[(&str, &[&str])] = &[
        ("data: a\n\ndata: b\n\n", &["a", "b"]),
        ("data: a\r\n\r\ndata:b\r\n\r\n", &["a", "b"]),
        ("data: a\r\rdata: b\r\r", &["a", "b"]),
        (
            ": keep-alive\n\nevent: x\ndata: one\ndata: two\nid: 7\n\n",
            &["one\ntwo"],
        ),
        ("data: thr\u{e9}\u{e9}\n\ndata\n\n", &["thr\u{e9}\u{e9}", ""]),
        ("data:  two spaces\n\ndatabase: no\n\n", &[" two spaces"]),
        ("\n\n\ndata: a\n\n\n\ndata: no blank line", &["a", "no blank line"]),
        ("data: mixed\r\n\ndata: ends\n\r\n", &["mixed", "ends"]),
    ];

    #[test]
    fn every_sample_gives_the_same_events_however_it_is_cut_in_two_or_three() {
        for (text, wanted) in SAMPLES {
            let text = text.as_bytes();
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let got = data_of(&split_at(text, &[first, second]));
                    let got: Vec<_> = got.iter().map(|data| std::str::from_utf8(data).unwrap()).collect();
                    assert_eq!(&got, wanted, "{text:?} cut at {first} and {second}");
                }
            }
        }
    }

    #[test]
    fn bytes_leave_as_they_came_and_whole_events_are_not_copied() {
        let piece = Bytes::from_static(b"data: a\n\ndata: b\n\n");
        let out = SseSplitter::default().push(piece.clone()).unwrap();
        assert_eq!(out.as_ptr(), piece.as_ptr());
        assert_eq!(out, piece);
    }

    #[test]
    fn half_an_end_of_line_is_waited_for_where_the_other_half_will_come() {
        let mut splitter = SseSplitter::default();
        let mut push = |piece: &'static str| splitter.push(Bytes::from_static(piece.as_bytes())).unwrap();
        assert_eq!(push("data: a\r\n\r\ndata: b\r\n\r"), "data: a\r\n\r\n");
        assert_eq!(push("\n"), "data: b\r\n\r\n");
        // Who ends lines by CR alone is not kept waiting.
        assert_eq!(push("data: c\r\r"), "data: c\r\r");
        // Nor is anything lost where somebody does both.
        assert_eq!(push("data: d\r\n\r"), "");
        assert_eq!(push("data: e"), "data: d\r\n\r");
        assert_eq!(splitter.finish(), "data: e");
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut splitter = SseSplitter::default();
        let part = Bytes::from(vec![b'x'; MAX_EVENT_BYTES / 2]);
        splitter.push(part.clone()).unwrap();
        splitter.push(part.clone()).unwrap();
        assert_eq!(splitter.push(Bytes::from_static(b"x")), Err(EventTooLong));
    }

    #[test]
    fn an_event_of_many_pieces_is_searched_once() {
        let text = [b"data: ".as_slice(), &[b'x'; 5_000], b"\ndata: y\n\n"].concat();
        let mut looked_at = 0;
        let mut search = |new: &[u8]| {
            let found = memrchr2(b'\n', b'\r', new);
            looked_at += new.len() - found.unwrap_or(0);
            found
        };
        let mut from = 0;
        for piece in text.chunks(10) {
            let so_far = from + piece.len();
            let found = last_boundary_by(&mut search, &text[..so_far], from);
            assert_eq!(found, (so_far == text.len()).then_some(so_far));
            from = so_far;
        }
        assert!(looked_at <= text.len() + 10, "{looked_at} of {}", text.len());
    }

    /// As it is written in the standard, from the beginning.
    fn last_blank_line(bytes: &[u8]) -> Option<usize> {
        let mut lines = Events::of(bytes);
        let mut found = None;
        while let Some(line) = lines.line() {
            let ended = matches!(bytes.get(lines.at - 1), Some(b'\n' | b'\r'));
            let is_half = lines.at == bytes.len() && bytes.ends_with(b"\r\n\r");
            if line.is_empty() && ended && !is_half {
                found = Some(lines.at);
            }
        }
        found
    }

    proptest! {
        #[test]
        fn the_last_blank_line_is_found_wherever_the_bytes_are_cut(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'd')], 0..40),
        ) {
            let wanted = last_blank_line(&text);
            // What is cut before holds no blank line.
            let most = (0..=text.len()).take_while(|from| last_boundary(&text[..*from], 0).is_none());
            for from in most {
                let held = usize::from(text[..from].ends_with(b"\r\n\r"));
                let wanted = wanted.filter(|end| *end > from - held);
                prop_assert_eq!(last_boundary(&text, from), wanted, "from {}", from);
            }
        }

        #[test]
        fn any_bytes_come_out_whole_and_in_order(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'd'), any::<u8>()], 0..120),
            cuts in proptest::collection::vec(0usize..120, 0..6),
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let mut splitter = SseSplitter::default();
            let mut out = Vec::new();
            for piece in split_at(&text, &cuts) {
                out.extend_from_slice(&splitter.push(piece).unwrap());
            }
            out.extend_from_slice(&splitter.finish());
            prop_assert_eq!(out, text);
        }
    }
}
