//! Directories. Each process writes into one of its own, `w-<random>`, whose file `lock` it holds (flock) as long as it lives.
//! Whoever gets the lock of another directory knows that its process is dead and adopts what it left.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::domain::ids::NodeId;

const LOCK: &str = "lock";
const POSITION: &str = "position";
const PREFIX: &str = "w-";
const SEGMENT: &str = "segment-";

/// A directory that this process holds the lock of.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    /// Held, never read: the kernel lets go of it when the process ends, however it ends.
    _lock: File,
    position: File,
}

/// Where the next record to hand to the database stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

impl Home {
    /// Makes a directory of its own under `root`.
    pub(super) fn create(root: &Path, id: &str) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        // It gets its real name only when the lock is held, so that nobody takes it for a dead process's.
        let draft = root.join(format!(".new-{id}"));
        DirBuilder::new().mode(0o700).create(&draft)?;
        let lock = private(&draft.join(LOCK), true)?;
        lock.try_lock()?;
        let position = private(&draft.join(POSITION), true)?;
        let path = root.join(format!("{PREFIX}{id}"));
        fs::rename(&draft, &path)?;
        File::open(root)?.sync_all()?;
        Ok(Self {
            path,
            _lock: lock,
            position,
        })
    }

    /// Takes over the directory of a process that is dead; `None` while it lives, or when somebody else was quicker.
    pub(super) fn adopt(path: PathBuf) -> io::Result<Option<Self>> {
        let lock = match OpenOptions::new().read(true).write(true).open(path.join(LOCK)) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Removing it was cut short, and it holds nothing; if it does, this fails and nothing is lost.
                let _ = fs::remove_dir(&path);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Another process may have adopted and removed it between the two calls.
        if !path.join(LOCK).exists() {
            return Ok(None);
        }
        let position = private(&path.join(POSITION), false)?;
        Ok(Some(Self {
            path,
            _lock: lock,
            position,
        }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whose directory it is.
    pub(super) fn node(&self) -> Option<NodeId> {
        let name = self.path.file_name()?.to_str()?;
        name.strip_prefix(PREFIX).map(NodeId::new)
    }

    pub(super) fn segment_path(&self, segment: u64) -> PathBuf {
        self.path.join(format!("{SEGMENT}{segment:010}"))
    }

    /// Opens a segment that does not exist yet.
    pub(super) fn create_segment(&self, segment: u64) -> io::Result<File> {
        private(&self.segment_path(segment), true)
    }

    /// Numbers and lengths of the segments, in order.
    pub(super) fn segments(&self) -> io::Result<Vec<(u64, u64)>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_prefix(SEGMENT))
                .map(str::parse);
            if let Some(Ok(number)) = number {
                segments.push((number, entry.metadata()?.len()));
            }
        }
        segments.sort_unstable();
        Ok(segments)
    }

    /// The saved position; the very beginning when there is none or it is damaged: the database drops what it has already.
    pub(super) fn load_position(&self) -> Position {
        let mut bytes = [0; 20];
        if self.position.read_exact_at(&mut bytes, 0).is_err() {
            return Position::default();
        }
        let (body, sum) = bytes.split_at(16);
        let (segment, offset) = body.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        if crc32fast::hash(body).to_le_bytes() == *sum {
            Position {
                segment: number(segment),
                offset: number(offset),
            }
        } else {
            Position::default()
        }
    }

    pub(super) fn save_position(&self, position: Position) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(20);
        bytes.extend_from_slice(&position.segment.to_le_bytes());
        bytes.extend_from_slice(&position.offset.to_le_bytes());
        let sum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        self.position.write_all_at(&bytes, 0)
    }

    pub(super) fn remove_segment(&self, segment: u64) -> io::Result<()> {
        absent_is_fine(fs::remove_file(self.segment_path(segment)))
    }

    /// Removes the directory once nothing in it matters.
    pub(super) fn remove(self) -> io::Result<()> {
        // Some may have outlived the position that passed them.
        for (segment, _) in self.segments()? {
            self.remove_segment(segment)?;
        }
        absent_is_fine(fs::remove_file(self.path.join(POSITION)))?;
        // The lock last: a directory without one is taken for empty.
        absent_is_fine(fs::remove_file(self.path.join(LOCK)))?;
        absent_is_fine(fs::remove_dir(&self.path))
    }
}

/// Every directory under `root` but `own`.
pub(super) fn others(root: &Path, own: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if named && entry.file_type()?.is_dir() && entry.path() != own {
            found.push(entry.path());
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// A file that only its owner may read: records name people.
fn private(path: &Path, new: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    if new {
        options.create_new(true);
    } else {
        options.create(true).truncate(false);
    }
    options.open(path)
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
