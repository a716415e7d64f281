//! The appending side: one write(2) per record, at an offset of our choice.

use std::{collections::VecDeque, fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use super::home::{Home, Position};

/// Frames that wait in memory for a disk that refuses them. Only calls admitted before the refusal can add to it.
const BACKLOG: usize = 16_384;

/// What was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum AppendError {
    /// Kept in memory.
    #[error("{0}")]
    Kept(io::Error),
    /// Not even kept.
    #[error("{0}; too many records wait already")]
    Lost(io::Error),
}

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
    backlog: VecDeque<Vec<u8>>,
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
            backlog: VecDeque::new(),
        })
    }

    /// Appends a frame. When this returns `Ok` the kernel has all of it, so that it outlives the process.
    pub(super) fn append(&mut self, frame: Vec<u8>) -> Result<(), AppendError> {
        let written = match self.append_backlog() {
            Ok(()) => self.write(&frame),
            failed => failed,
        };
        match written {
            Ok(()) => Ok(()),
            Err(error) if self.backlog.len() < BACKLOG => {
                self.backlog.push_back(frame);
                Err(AppendError::Kept(error))
            }
            Err(error) => Err(AppendError::Lost(error)),
        }
    }

    /// Tries again what the disk refused, in order.
    pub(super) fn append_backlog(&mut self) -> io::Result<()> {
        while let Some(frame) = self.backlog.pop_front() {
            if let Err(error) = self.write(&frame) {
                self.backlog.push_front(frame);
                return Err(error);
            }
        }
        Ok(())
    }

    pub(super) fn backlog(&self) -> usize {
        self.backlog.len()
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

    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let size = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        if self.length > 0 && self.length.saturating_add(size) > self.segment_bytes {
            self.turn()?;
        }
        // At a given offset, so that a write cut short leaves nothing behind: the next one begins at the same place.
        self.file.write_all_at(frame, self.length)?;
        self.length += size;
        Ok(())
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
