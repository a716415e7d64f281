//! A part of the buckets, bounded.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use crate::domain::limits::{Level, Rate, Ticks};

/// When there is no room, so many are looked at to find one that is missed least.
const CANDIDATES: usize = 16;

/// A bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    Rate {
        level: Level,
        /// When it will be empty.
        empty_at: Ticks,
    },
    /// Slots in use.
    Slots(u32),
}

impl Cell {
    pub(super) fn at(rate: Option<Rate>, level: u64, now: Ticks) -> Self {
        match rate {
            Some(rate) => Self::Rate {
                level: Level { debt: level, at: now },
                empty_at: Ticks(now.0.saturating_add(rate.reset(level).0)),
            },
            None => Self::Slots(u32::try_from(level).unwrap_or(u32::MAX)),
        }
    }

    fn is_empty(&self, now: Ticks) -> bool {
        match self {
            Self::Rate { empty_at, .. } => *empty_at <= now,
            Self::Slots(used) => *used == 0,
        }
    }
}

/// Names are hashes already.
#[derive(Default)]
pub(super) struct NoHash(u64);

impl Hasher for NoHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low half of a hash is a hash")]
    fn write_u128(&mut self, name: u128) {
        self.0 = name as u64;
    }
}

#[derive(Debug)]
pub(super) struct Shard {
    cells: HashMap<u128, Cell, BuildHasherDefault<NoHash>>,
    room: usize,
}

impl Shard {
    pub(super) fn new(room: usize) -> Self {
        Self {
            cells: HashMap::default(),
            room: room.max(1),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn find(&self, name: u128) -> Option<&Cell> {
        self.cells.get(&name)
    }

    /// Puts a bucket where it belongs; one that is empty is taken out.
    pub(super) fn put(&mut self, name: u128, cell: Cell, now: Ticks) {
        if cell.is_empty(now) {
            self.cells.remove(&name);
            return;
        }
        if let Some(known) = self.cells.get_mut(&name) {
            *known = cell;
            return;
        }
        if self.cells.len() >= self.room {
            self.sweep(now);
        }
        if self.cells.len() >= self.room {
            self.forget_one();
        }
        self.cells.insert(name, cell);
    }

    pub(super) fn sweep(&mut self, now: Ticks) {
        self.cells.retain(|_, cell| !cell.is_empty(now));
        // After a flood the room is given back.
        if self.cells.capacity() > 64 && self.cells.len() < self.cells.capacity() / 4 {
            self.cells.shrink_to_fit();
        }
    }

    /// Of some buckets, forgets the one that is empty soonest: its caller gains least. Slots in use are forgotten last.
    fn forget_one(&mut self) {
        let soonest = self.cells.iter().take(CANDIDATES).min_by_key(|(_, cell)| match cell {
            Cell::Rate { empty_at, .. } => empty_at.0,
            Cell::Slots(_) => u64::MAX,
        });
        if let Some(name) = soonest.map(|(name, _)| *name) {
            self.cells.remove(&name);
        }
    }
}
