//! Frames of AWS event streams (`application/vnd.amazon.eventstream`), cut out of bytes that arrive in any split.
//!
//! A frame is its total length, the length of its headers, the CRC-32 of these eight bytes, headers, payload, and the CRC-32 of
//! all before; numbers are big-endian. The first checksum is compared before the length is believed: a hurt length would have us
//! wait for bytes that never come.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// No frame may be longer: memory is bounded per stream.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
/// Both lengths and their checksum.
const PRELUDE: usize = 12;
/// The checksum of the whole.
const TRAILER: usize = 4;

/// Why a stream of frames cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of the stream is too long")]
    TooLong,
    #[error("a frame of the stream has a wrong checksum")]
    Checksum,
    #[error("a frame of the stream is malformed")]
    Malformed,
    #[error("the stream ended inside a frame")]
    Truncated,
}

/// A frame whose checksums are right and whose headers can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Bytes,
    headers: Range<usize>,
}

impl Frame {
    /// The value of a header, if it is there and a text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut rest = self.bytes.get(self.headers.clone())?;
        while !rest.is_empty() {
            let header = read_header(&mut rest)?;
            if header.name == name.as_bytes() {
                return header.text;
            }
        }
        None
    }

    /// What stands behind the headers. It is not copied.
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(self.headers.end..self.bytes.len() - TRAILER)
    }
}

/// Collects bytes until frames are complete.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    carry: BytesMut,
    /// What went wrong. There is no way to find the next frame behind a broken one.
    failed: Option<FrameError>,
}

impl FrameDecoder {
    /// Takes bytes as they came. All frames that are whole should be taken out before the next: what is kept is one frame then.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.carry.extend_from_slice(bytes);
        }
    }

    /// The next frame, if all of it is there.
    ///
    /// # Errors
    /// The stream is broken, now and for good.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.take_frame().inspect_err(|error| {
            self.failed = Some(*error);
            self.carry = BytesMut::new();
        })
    }

    /// The body has ended.
    ///
    /// # Errors
    /// It ended inside a frame, or was broken before.
    pub fn finish(&self) -> Result<(), FrameError> {
        match (self.failed, self.carry.is_empty()) {
            (Some(error), _) => Err(error),
            (None, false) => Err(FrameError::Truncated),
            (None, true) => Ok(()),
        }
    }

    fn take_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(prelude) = self.carry.first_chunk::<PRELUDE>() else {
            return Ok(None);
        };
        let (total, headers) = read_prelude(prelude)?;
        if self.carry.len() < total {
            // No room is made for it yet: a length is quickly said.
            return Ok(None);
        }
        let bytes = self.carry.split_to(total).freeze();
        let covered = bytes.get(..total - TRAILER).ok_or(FrameError::Malformed)?;
        if bytes.last_chunk::<TRAILER>().copied().map(u32::from_be_bytes) != Some(crc32fast::hash(covered)) {
            return Err(FrameError::Checksum);
        }
        let headers = PRELUDE..PRELUDE + headers;
        let mut rest = bytes.get(headers.clone()).ok_or(FrameError::Malformed)?;
        while !rest.is_empty() {
            read_header(&mut rest).ok_or(FrameError::Malformed)?;
        }
        Ok(Some(Frame { bytes, headers }))
    }
}

/// The length of the frame and that of its headers.
fn read_prelude(prelude: &[u8; PRELUDE]) -> Result<(usize, usize), FrameError> {
    let mut rest = &prelude[..];
    let mut number = || Some(u32::from_be_bytes(*rest.split_off(..4)?.first_chunk()?));
    let (Some(total), Some(headers), Some(checksum)) = (number(), number(), number()) else {
        return Err(FrameError::Malformed);
    };
    let covered = prelude.first_chunk::<8>().map_or(0, |lengths| crc32fast::hash(lengths));
    if covered != checksum {
        return Err(FrameError::Checksum);
    }
    let length = |number| usize::try_from(number).map_err(|_| FrameError::TooLong);
    let (total, headers) = (length(total)?, length(headers)?);
    if total > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong);
    }
    match total.checked_sub(PRELUDE + TRAILER) {
        Some(room) if headers <= room => Ok((total, headers)),
        _ => Err(FrameError::Malformed),
    }
}

struct Header<'a> {
    name: &'a [u8],
    /// Only texts are of use to anybody here.
    text: Option<&'a str>,
}

/// One header: the length of its name, the name, the type of its value, the value. `None` when it is none.
fn read_header<'a>(rest: &mut &'a [u8]) -> Option<Header<'a>> {
    let [name_length] = *rest.split_off(..1)?.first_chunk()?;
    let name = rest.split_off(..usize::from(name_length))?;
    let [kind] = *rest.split_off(..1)?.first_chunk()?;
    let length = match kind {
        // True and false have no value behind them.
        0 | 1 => 0,
        // Integers of one, two, four and eight bytes; bytes; text; a moment; a UUID.
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        6 | 7 => usize::from(u16::from_be_bytes(*rest.split_off(..2)?.first_chunk()?)),
        9 => 16,
        _ => return None,
    };
    let value = rest.split_off(..length)?;
    let text = match kind {
        7 => Some(std::str::from_utf8(value).ok()?),
        _ => None,
    };
    Some(Header { name, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(headers: &[u8], payload: &[u8]) -> Vec<u8> {
        let total = PRELUDE + headers.len() + payload.len() + TRAILER;
        let mut bytes = u32::try_from(total).unwrap().to_be_bytes().to_vec();
        bytes.extend(u32::try_from(headers.len()).unwrap().to_be_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes.extend(headers);
        bytes.extend(payload);
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    fn text_header(name: &str, value: &str) -> Vec<u8> {
        let mut bytes = vec![u8::try_from(name.len()).unwrap()];
        bytes.extend(name.as_bytes());
        bytes.push(7);
        bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        bytes.extend(value.as_bytes());
        bytes
    }

    /// All frames of some pieces, and how they ended.
    fn read(pieces: &[&[u8]]) -> (Vec<Frame>, Result<(), FrameError>) {
        let mut decoder = FrameDecoder::default();
        let mut frames = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => return (frames, Err(error)),
                }
            }
        }
        (frames, decoder.finish())
    }

    fn sample() -> Vec<u8> {
        let mut headers = text_header(":event-type", "contentBlockDelta");
        headers.extend(text_header(":message-type", "event"));
        // One of each other type: they are stepped over.
        for (kind, value) in [
            (0, &[][..]),
            (1, &[]),
            (2, &[1]),
            (3, &[1; 2]),
            (4, &[1; 4]),
            (5, &[1; 8]),
            (6, &[0, 3, 7, 7, 7]),
            (8, &[1; 8]),
            (9, &[1; 16]),
        ] {
            headers.extend([1, b'a', kind]);
            headers.extend(value);
        }
        headers.extend(text_header("last", "\u{4f60}"));
        [
            frame(&headers, b"{\"a\":1}"),
            frame(&[], b""),
            frame(&headers, &[0xff; 40]),
        ]
        .concat()
    }

    #[test]
    fn headers_and_payload_come_out_however_the_bytes_are_cut() {
        let bytes = sample();
        let (wanted, end) = read(&[&bytes]);
        assert_eq!(end, Ok(()));
        assert_eq!(wanted.len(), 3);
        assert_eq!(wanted[0].header(":event-type"), Some("contentBlockDelta"));
        assert_eq!(wanted[0].header(":message-type"), Some("event"));
        assert_eq!(wanted[0].header("last"), Some("\u{4f60}"));
        assert_eq!((wanted[0].header("a"), wanted[0].header("none")), (None, None));
        assert_eq!(wanted[0].payload(), "{\"a\":1}");
        assert_eq!((wanted[1].payload().len(), wanted[1].header("a")), (0, None));
        for first in 0..=bytes.len() {
            for second in [first, usize::midpoint(first, bytes.len())] {
                let cut = read(&[&bytes[..first], &bytes[first..second], &bytes[second..]]);
                assert_eq!(cut, (wanted.clone(), Ok(())), "cut at {first} and {second}");
            }
        }
        let each: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(read(&each), (wanted, Ok(())));
    }

    #[test]
    fn an_end_inside_a_frame_is_told() {
        let bytes = sample();
        let ends: Vec<usize> = read(&[&bytes])
            .0
            .iter()
            .scan(0, |end, frame| {
                *end += frame.bytes.len();
                Some(*end)
            })
            .collect();
        for cut in 0..=bytes.len() {
            let wanted = match cut == 0 || ends.contains(&cut) {
                true => Ok(()),
                false => Err(FrameError::Truncated),
            };
            assert_eq!(read(&[&bytes[..cut]]).1, wanted, "{cut}");
        }
    }

    #[test]
    fn a_hurt_byte_is_found_before_anything_is_waited_for() {
        let bytes = frame(&text_header("a", "b"), b"payload");
        for at in 0..bytes.len() {
            let mut hurt = bytes.clone();
            hurt[at] ^= 0x40;
            assert_eq!(read(&[&hurt]), (Vec::new(), Err(FrameError::Checksum)), "{at}");
        }
    }

    fn prelude(total: u32, headers: u32) -> Vec<u8> {
        let mut bytes = [total.to_be_bytes(), headers.to_be_bytes()].concat();
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_at_once() {
        let most = u32::try_from(MAX_FRAME_BYTES).unwrap();
        for (total, headers, wanted) in [
            (0, 0, FrameError::Malformed),
            (15, 0, FrameError::Malformed),
            (16, 1, FrameError::Malformed),
            (100, u32::MAX, FrameError::Malformed),
            (most + 1, 0, FrameError::TooLong),
            (u32::MAX, 0, FrameError::TooLong),
        ] {
            assert_eq!(read(&[&prelude(total, headers)]).1, Err(wanted), "{total} {headers}");
        }
        assert_eq!(read(&[&prelude(most, 0)]).1, Err(FrameError::Truncated));
    }

    #[test]
    fn headers_that_cannot_be_read_are_refused() {
        let mut not_utf8 = text_header("a", "b");
        *not_utf8.last_mut().unwrap() = 0xff;
        for headers in [
            &[5, b'a'][..],
            &[1, b'a'],
            &[1, b'a', 10],
            &[1, b'a', 5, 1],
            &[1, b'a', 7, 0],
            &[1, b'a', 7, 0, 9, b'x'],
            &not_utf8,
        ] {
            assert_eq!(
                read(&[&frame(headers, b"")]),
                (Vec::new(), Err(FrameError::Malformed)),
                "{headers:?}"
            );
        }
    }

    #[test]
    fn behind_a_broken_frame_nothing_is_read() {
        let mut decoder = FrameDecoder::default();
        decoder.push(&prelude(0, 0));
        assert_eq!(decoder.next_frame(), Err(FrameError::Malformed));
        decoder.push(&frame(&[], b"x"));
        assert_eq!(decoder.next_frame(), Err(FrameError::Malformed));
        assert_eq!(decoder.finish(), Err(FrameError::Malformed));
        assert!(decoder.carry.is_empty());
    }

    proptest! {
        #[test]
        fn any_frames_come_out_whole_and_in_order_however_they_are_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..6),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        ) {
            let headers = text_header("n", "v");
            let bytes: Vec<u8> = payloads.iter().flat_map(|payload| frame(&headers, payload)).collect();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let mut from = 0;
            let pieces: Vec<_> = cuts
                .into_iter()
                .chain([bytes.len()])
                .map(|to| &bytes[std::mem::replace(&mut from, to)..to])
                .collect();
            let (frames, end) = read(&pieces);
            prop_assert_eq!(end, Ok(()));
            prop_assert!(frames.iter().all(|frame| frame.header("n") == Some("v")));
            let got: Vec<_> = frames.iter().map(|frame| frame.payload().to_vec()).collect();
            prop_assert_eq!(got, payloads);
        }

        #[test]
        fn no_bytes_make_it_fail_otherwise_than_by_its_errors(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (frames, end) = read(&[&bytes]);
            prop_assert!(frames.is_empty() && (end.is_err() || bytes.is_empty()));
        }
    }
}
