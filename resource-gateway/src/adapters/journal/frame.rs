//! How a record stands in a segment: magic, length, CRC-32 of length and payload, payload (a usage record as JSON).
//!
//! A reader that meets damage looks for the next sound frame, so that one bad sector costs the records in it and no others. JSON
//! never holds the bytes of a length, so no caller's text can pose as a frame.

use memchr::memmem;

use crate::domain::usage::UsageRecord;

const MAGIC: [u8; 4] = *b"HGU1";
/// Magic, length, checksum.
pub(super) const HEADER: usize = 12;
/// The longest payload. Names come from the configuration, tokens are bounded by the header limit, and so many budgets count a call
/// at most (`domain::crowding`), so none comes near. A reader takes twice as much at once.
pub(super) const MAX_PAYLOAD: usize = 256 * 1024;

/// The record has no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum EncodeError {
    #[error("the record has {0} bytes, at most {MAX_PAYLOAD} fit")]
    TooLong(usize),
    #[error("the record does not encode")]
    Json,
}

/// Frames a record; one that is too long without the accounts that it is charged to, of which the second value tells. A call that
/// no budget is charged with is better than one that nobody knows of.
pub(super) fn encode_shortened(record: &UsageRecord) -> Result<(Vec<u8>, bool), EncodeError> {
    match encode(record) {
        Err(EncodeError::TooLong(_)) if !record.charges.is_empty() => {
            let short = UsageRecord {
                charges: Vec::new(),
                ..record.clone()
            };
            Ok((encode(&short)?, true))
        }
        encoded => Ok((encoded?, false)),
    }
}

/// Frames a record.
pub(super) fn encode(record: &UsageRecord) -> Result<Vec<u8>, EncodeError> {
    let mut frame = Vec::with_capacity(640);
    frame.extend_from_slice(&[0; HEADER]);
    serde_json::to_writer(&mut frame, record).map_err(|_| EncodeError::Json)?;
    let (header, payload) = frame.split_at_mut_checked(HEADER).ok_or(EncodeError::Json)?;
    if payload.len() > MAX_PAYLOAD {
        return Err(EncodeError::TooLong(payload.len()));
    }
    without_nul(payload);
    let length = u32::try_from(payload.len()).map_err(|_| EncodeError::TooLong(payload.len()))?;
    let sum = checksum(length.to_le_bytes(), payload);
    let parts = MAGIC.into_iter().chain(length.to_le_bytes()).chain(sum.to_le_bytes());
    header.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
    Ok(frame)
}

/// PostgreSQL has no place for NUL in text; the replacement character keeps the row.
fn without_nul(payload: &mut [u8]) {
    while let Some(at) = memmem::find(payload, br"\u0000") {
        let escape = payload.iter_mut().skip(at);
        escape.zip(br"\ufffd").for_each(|(place, byte)| *place = *byte);
    }
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

/// Whether more bytes may follow those that a reader has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The bytes are a part of the file.
    Open,
    /// Nothing will ever follow.
    Final,
}

/// What stands next in a segment. `end` is where the reader goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Record {
        text: &'a str,
        end: usize,
    },
    /// Bytes that are no frame, with sound frames behind them (or perhaps behind them).
    Damage {
        end: usize,
    },
    /// The rest is no frame: a write that never completed.
    Torn,
    /// A frame begins here but its end is not among the bytes.
    Partial,
    End,
}

enum Parsed<'a> {
    Sound(&'a str, usize),
    Short,
    Bad,
}

/// Reads the piece at `at`.
pub(super) fn read(bytes: &[u8], at: usize, ending: Ending) -> Piece<'_> {
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return Piece::End;
    }
    match (parse(rest), ending) {
        (Parsed::Sound(text, length), _) => Piece::Record { text, end: at + length },
        (Parsed::Short, Ending::Open) => Piece::Partial,
        (Parsed::Short, Ending::Final) | (Parsed::Bad, _) => skip_damage(rest, at, ending),
    }
}

fn skip_damage(rest: &[u8], at: usize, ending: Ending) -> Piece<'static> {
    for candidate in memmem::find_iter(rest, &MAGIC).filter(|candidate| *candidate > 0) {
        let begins = match parse(rest.get(candidate..).unwrap_or_default()) {
            Parsed::Sound(..) => true,
            Parsed::Short => ending == Ending::Open,
            Parsed::Bad => false,
        };
        if begins {
            return Piece::Damage { end: at + candidate };
        }
    }
    match ending {
        Ending::Final => Piece::Torn,
        // The magic itself may be cut by the end of what was read.
        Ending::Open if rest.len() > MAGIC.len() => Piece::Damage {
            end: at + rest.len() - (MAGIC.len() - 1),
        },
        Ending::Open => Piece::Partial,
    }
}

fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return if bytes.starts_with(&MAGIC) || MAGIC.starts_with(bytes) {
            Parsed::Short
        } else {
            Parsed::Bad
        };
    };
    let [m0, m1, m2, m3, l0, l1, l2, l3, s0, s1, s2, s3] = *header;
    let length_bytes = [l0, l1, l2, l3];
    let length = usize::try_from(u32::from_le_bytes(length_bytes)).unwrap_or(usize::MAX);
    if [m0, m1, m2, m3] != MAGIC || length > MAX_PAYLOAD {
        return Parsed::Bad;
    }
    let Some(payload) = rest.get(..length) else {
        return Parsed::Short;
    };
    if checksum(length_bytes, payload) != u32::from_le_bytes([s0, s1, s2, s3]) {
        return Parsed::Bad;
    }
    match std::str::from_utf8(payload) {
        Ok(text) => Parsed::Sound(text, HEADER + length),
        Err(_) => Parsed::Bad,
    }
}
