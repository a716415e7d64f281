//! The appending side: one write(2) for all records that wait, at an offset of our choice.

use std::{collections::VecDeque, fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use super::home::{Home, Position};

/// Frames that wait in memory for a disk that refuses them. Only calls admitted before the refusal can add to it.
const MOST_WAITING: usize = 16_384;
/// Written at once, unless a single frame is longer.
const WRITE_BYTES: usize = 128 * 1024;

/// As many frames wait as may.
#[derive(Debug, thiserror::Error)]
#[error("too many records wait for the disk already")]
pub(super) struct Crowded;

/// The segment under the pen and the frames that did not get there yet.
#[derive(Debug)]
pub(super) struct Writer {
    home: Arc<Home>,
    segment_bytes: u64,
    number: u64,
    file: Arc<File>,
    /// Bytes of complete frames. What stands behind them in the file is the rest of a write that failed; the next one covers it.
    length: u64,
    /// Full segments that the database has not taken and that were not flushed to the disk.
    unflushed: Vec<(u64, Arc<File>)>,
    /// Frames that are to be written.
    waiting: VecDeque<Vec<u8>>,
    /// Put together for a write.
    together: Vec<u8>,
}

impl Writer {
    pub(super) fn begin(home: Arc<Home>, segment_bytes: u64) -> io::Result<Self> {
        let number = 1;
        let file = Arc::new(home.create_segment(number)?);
        Ok(Self {
            home,
            segment_bytes,
            number,
            file,
            length: 0,
            unflushed: Vec::new(),
            waiting: VecDeque::new(),
            together: Vec::new(),
        })
    }

    /// Takes a frame, to be written by the next [`Self::write`].
    pub(super) fn push(&mut self, frame: Vec<u8>) -> Result<(), Crowded> {
        if self.waiting.len() >= MOST_WAITING {
            return Err(Crowded);
        }
        self.waiting.push_back(frame);
        Ok(())
    }

    /// Writes all that waits, in order. When this returns `Ok` the kernel has it, so that it outlives the process; what the disk
    /// refuses goes on waiting.
    pub(super) fn write(&mut self) -> io::Result<()> {
        while let Some(first) = self.waiting.front() {
            let room = self.segment_bytes.saturating_sub(self.length);
            let fits = |size: usize| u64::try_from(size).is_ok_and(|size| size <= room);
            // An empty segment takes a frame of any length.
            if self.length > 0 && !fits(first.len()) {
                self.turn()?;
                continue;
            }
            self.together.clear();
            let mut frames = 0;
            for frame in &self.waiting {
                let size = self.together.len() + frame.len();
                if frames > 0 && (size > WRITE_BYTES || !fits(size)) {
                    break;
                }
                self.together.extend_from_slice(frame);
                frames += 1;
            }
            // At a given offset, so that a write cut short leaves nothing behind: the next one begins at the same place.
            self.file.write_all_at(&self.together, self.length)?;
            self.length += u64::try_from(self.together.len()).unwrap_or(u64::MAX);
            self.waiting.drain(..frames);
        }
        self.together.shrink_to(WRITE_BYTES);
        Ok(())
    }

    /// The end of what may be read.
    pub(super) fn end(&self) -> Position {
        Position {
            segment: self.number,
            offset: self.length,
        }
    }

    /// Segments that the database has taken need no flushing, and must not be kept open.
    pub(super) fn forget_before(&mut self, position: Position) {
        self.unflushed.retain(|(number, _)| *number >= position.segment);
    }

    /// The files whose data may not be on the disk yet, and the directory that names them.
    pub(super) fn take_unflushed(&mut self) -> Vec<Arc<File>> {
        let mut files: Vec<_> = self.unflushed.drain(..).map(|(_, file)| file).collect();
        files.push(Arc::clone(&self.file));
        files.extend(File::open(self.home.path()).ok().map(Arc::new));
        files
    }

    fn turn(&mut self) -> io::Result<()> {
        // Cuts off the rest of a failed write, which a reader would report as damage.
        self.file.set_len(self.length)?;
        let next = Arc::new(self.home.create_segment(self.number + 1)?);
        let full = std::mem::replace(&mut self.file, next);
        self.unflushed.push((self.number, full));
        self.number += 1;
        self.length = 0;
        Ok(())
    }
}
