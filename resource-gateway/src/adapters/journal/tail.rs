//! The reading side: batches of records from a directory's segments, in order.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _, sync::Arc};

use super::{
    frame::{self, Ending, Piece},
    home::{Home, Position},
};
use crate::ports::usage::UsageBatch;

/// Bytes that are read at once; longer than any frame.
const CHUNK: u64 = 512 * 1024;

/// How far a directory was handed to the database.
#[derive(Debug)]
pub(super) struct Tail {
    home: Arc<Home>,
    position: Position,
}

/// Records that were read together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    records: Vec<Range<usize>>,
    /// Where the next batch begins.
    next: Position,
    /// Bytes of the journal that this batch stands for.
    pub(super) span: u64,
    pub(super) damaged: u64,
    pub(super) torn: u64,
    /// Whether nothing told was left unread in the segment.
    reached_end: bool,
    /// A segment that nothing more will be read from.
    finished: Option<u64>,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it reached the end of what there was.
    pub(super) fn is_last(&self) -> bool {
        self.reached_end && self.finished.is_none()
    }

    /// The texts of the records.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.records
            .iter()
            .filter_map(|range| std::str::from_utf8(self.bytes.get(range.clone())?).ok())
    }

    pub(super) fn to_usage(&self) -> UsageBatch {
        let mut batch = UsageBatch::with_room(self.bytes.len(), self.records.len());
        self.texts().for_each(|text| batch.push(text));
        batch
    }
}

impl Tail {
    /// Goes on where the saved position says.
    pub(super) fn resume(home: Arc<Home>) -> Self {
        let position = home.load_position();
        Self { home, position }
    }

    pub(super) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Bytes that were not handed over.
    pub(super) fn pending(&self) -> io::Result<u64> {
        let segments = self.home.segments()?;
        let of = |(number, length): &(u64, u64)| match number.cmp(&self.position.segment) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => length.saturating_sub(self.position.offset),
            std::cmp::Ordering::Greater => *length,
        };
        Ok(segments.iter().map(of).sum())
    }

    /// Reads the next records, at most `limit`; `None` when there are none. `end` is the end of a journal that is still written,
    /// `None` stands for one that is not.
    pub(super) fn read(&self, end: Option<Position>, limit: usize) -> io::Result<Option<Batch>> {
        let segments = self.home.segments()?;
        let mut unread = segments
            .into_iter()
            .filter(|(number, _)| *number >= self.position.segment);
        let Some((segment, length)) = unread.next() else {
            return Ok(None);
        };
        let offset = if segment == self.position.segment {
            self.position.offset
        } else {
            0
        };
        let (length, open) = match end {
            Some(end) if end.segment == segment => (end.offset, true),
            Some(_) | None => (length, false),
        };
        if open && offset >= length {
            return Ok(None);
        }
        self.read_segment(Position { segment, offset }, length, open, limit)
            .map(Some)
    }

    fn read_segment(&self, from: Position, length: u64, open: bool, limit: usize) -> io::Result<Batch> {
        let rest = length.saturating_sub(from.offset);
        let size = rest.min(CHUNK);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        File::open(self.home.segment_path(from.segment))?.read_exact_at(&mut bytes, from.offset)?;
        // The writer only ever tells of whole frames, so a part of one at the told end is damage, too.
        let ending = if size == rest { Ending::Final } else { Ending::Open };
        let mut batch = cut(bytes, ending, limit);
        let consumed = batch.span;
        batch.next = Position {
            segment: from.segment,
            offset: from.offset + consumed,
        };
        batch.reached_end = consumed == rest;
        if !open && batch.reached_end {
            batch.finished = Some(from.segment);
            batch.next = Position {
                segment: from.segment + 1,
                offset: 0,
            };
        }
        Ok(batch)
    }

    /// Notes that the database has the batch.
    pub(super) fn advance(&mut self, batch: &Batch) -> io::Result<()> {
        self.position = batch.next;
        self.home.save_position(self.position)?;
        match batch.finished {
            // After the position: a segment that is gone while the position points into it would be a hole.
            Some(segment) => self.home.remove_segment(segment),
            None => Ok(()),
        }
    }

    /// Gives the directory up for removal.
    pub(super) fn into_home(self) -> Option<Home> {
        Arc::into_inner(self.home)
    }
}

fn cut(bytes: Vec<u8>, ending: Ending, limit: usize) -> Batch {
    let mut batch = Batch::default();
    let mut at = 0;
    while batch.records.len() < limit {
        let end = match frame::read(&bytes, at, ending) {
            Piece::Record { end, .. } => {
                batch.records.push(at + frame::HEADER..end);
                end
            }
            Piece::Damage { end } => {
                batch.damaged += bytes_between(at, end);
                end
            }
            Piece::Torn => {
                batch.torn = bytes_between(at, bytes.len());
                bytes.len()
            }
            Piece::Partial | Piece::End => break,
        };
        at = end;
    }
    batch.span = bytes_between(0, at);
    batch.bytes = bytes;
    batch
}

fn bytes_between(from: usize, to: usize) -> u64 {
    u64::try_from(to.saturating_sub(from)).unwrap_or_default()
}
