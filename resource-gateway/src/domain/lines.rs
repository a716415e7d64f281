//! Lines of JSON (NDJSON), cut out of bytes that arrive in any split.
//!
//! A line ends in LF; a CR before it belongs to the line end. Blank lines say nothing. The last line may lack its end.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memrchr};

/// A line that is not complete after this many bytes is not waited for: memory is bounded per stream.
pub const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// The line is longer than [`MAX_LINE_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line of the stream is too long")]
pub struct LineTooLong;

/// Collects bytes until lines are complete.
#[derive(Debug, Default)]
pub struct LineSplitter {
    /// The beginning of a line whose end has not come yet.
    carry: BytesMut,
}

impl LineSplitter {
    /// Takes bytes as they came; answers whole lines, as many as there are by now. What arrives whole leaves as it is, without a
    /// copy.
    ///
    /// # Errors
    /// [`LineTooLong`].
    pub fn push(&mut self, mut bytes: Bytes) -> Result<Bytes, LineTooLong> {
        // What is kept holds no line end, so it is not searched again.
        let Some(last) = memrchr(b'\n', &bytes) else {
            self.keep(&bytes)?;
            return Ok(Bytes::new());
        };
        let whole = bytes.split_to(last + 1);
        let whole = if self.carry.is_empty() {
            whole
        } else {
            // Only the first line is longer than what came.
            let first = memchr(b'\n', &whole).unwrap_or(last);
            self.keep(whole.get(..first).unwrap_or_default())?;
            self.carry.extend_from_slice(whole.get(first..).unwrap_or_default());
            self.carry.split().freeze()
        };
        self.keep(&bytes)?;
        Ok(whole)
    }

    /// What is left when the stream has ended: a line without its end.
    pub fn finish(&mut self) -> Bytes {
        self.carry.split().freeze()
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), LineTooLong> {
        if self.carry.len() + bytes.len() > MAX_LINE_BYTES {
            return Err(LineTooLong);
        }
        self.carry.extend_from_slice(bytes);
        Ok(())
    }
}

/// The lines of a piece that say something, without their ends and the white space around them.
pub fn lines(piece: &[u8]) -> impl Iterator<Item = &[u8]> {
    piece
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split_at(text: &[u8], cuts: &[usize]) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts.iter().copied().chain([text.len()]) {
            pieces.push(Bytes::copy_from_slice(&text[from..cut]));
            from = cut;
        }
        pieces
    }

    fn lines_of(pieces: &[Bytes]) -> Vec<Vec<u8>> {
        let mut splitter = LineSplitter::default();
        let mut found: Vec<Vec<u8>> = Vec::new();
        for piece in pieces {
            let whole = splitter.push(piece.clone()).unwrap();
            assert!(whole.is_empty() || whole.ends_with(b"\n"));
            found.extend(lines(&whole).map(<[u8]>::to_vec));
        }
        found.extend(lines(&splitter.finish()).map(<[u8]>::to_vec));
        found
    }

    const SAMPLES: &[(&str, &[&str])] = &[
        ("{\"a\":1}\n{\"b\":2}\n", &["{\"a\":1}", "{\"b\":2}"]),
        ("{}\r\n{}\r\n", &["{}", "{}"]),
        ("\n\r\n{}\n\n{\"no\":\"end\"}", &["{}", "{\"no\":\"end\"}"]),
        ("{\"text\":\"\u{e9}\u{4f60}\"}\n", &["{\"text\":\"\u{e9}\u{4f60}\"}"]),
        ("", &[]),
    ];

    #[test]
    fn every_sample_gives_the_same_lines_however_it_is_cut_in_two_or_three() {
        for (text, wanted) in SAMPLES {
            let text = text.as_bytes();
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let got = lines_of(&split_at(text, &[first, second]));
                    let got: Vec<_> = got.iter().map(|line| std::str::from_utf8(line).unwrap()).collect();
                    assert_eq!(&got, wanted, "{text:?} cut at {first} and {second}");
                }
            }
        }
    }

    #[test]
    fn whole_lines_are_not_copied() {
        let piece = Bytes::from_static(b"{}\n{}\n{");
        let mut splitter = LineSplitter::default();
        let out = splitter.push(piece.clone()).unwrap();
        assert_eq!((out.as_ptr(), &*out), (piece.as_ptr(), &b"{}\n{}\n"[..]));
        assert_eq!(splitter.finish(), "{");
    }

    #[test]
    fn a_line_without_end_is_given_up_and_many_short_ones_are_not() {
        let mut splitter = LineSplitter::default();
        let part = Bytes::from(vec![b'x'; MAX_LINE_BYTES / 2]);
        splitter.push(part.clone()).unwrap();
        splitter.push(part.clone()).unwrap();
        assert_eq!(splitter.push(Bytes::from_static(b"x\n")), Err(LineTooLong));

        let mut splitter = LineSplitter::default();
        let full = Bytes::from(vec![b'x'; MAX_LINE_BYTES]);
        splitter.push(full).unwrap();
        let whole = splitter.push(Bytes::from_static(b"\nmore\nand")).unwrap();
        assert_eq!(whole.len(), MAX_LINE_BYTES + "\nmore\n".len());
        assert_eq!(splitter.finish(), "and");
    }

    proptest! {
        #[test]
        fn any_bytes_come_out_whole_and_in_order(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..120),
            cuts in proptest::collection::vec(0usize..120, 0..6),
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let mut splitter = LineSplitter::default();
            let mut out = Vec::new();
            for piece in split_at(&text, &cuts) {
                out.extend_from_slice(&splitter.push(piece).unwrap());
            }
            out.extend_from_slice(&splitter.finish());
            prop_assert_eq!(out, text);
        }
    }
}
