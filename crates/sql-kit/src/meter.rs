//! Counts what a database is asked to do.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::Counter;

use crate::Sql;

/// What a database was asked to do since it was connected, whether it succeeded or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Statements by themselves that only read.
    pub reads: u64,
    /// Statements by themselves that write: each is a transaction of its own.
    pub writes: u64,
    /// Transactions of several statements.
    pub transactions: u64,
}

const REQUESTS: &str = "database_requests_total";

/// The counters behind [`Work`], and the same for `/metrics`.
#[derive(Debug)]
pub(crate) struct Meter {
    reads: Both,
    writes: Both,
    transactions: Both,
}

#[derive(Debug)]
struct Both {
    own: AtomicU64,
    published: Counter,
}

impl Both {
    fn new(kind: &'static str) -> Self {
        Self {
            own: AtomicU64::new(0),
            published: metrics::counter!(REQUESTS, "kind" => kind),
        }
    }

    fn count(&self) {
        self.own.fetch_add(1, Ordering::Relaxed);
        self.published.increment(1);
    }

    fn read(&self) -> u64 {
        self.own.load(Ordering::Relaxed)
    }
}

impl Meter {
    pub(crate) fn new() -> Self {
        metrics::describe_counter!(
            REQUESTS,
            "Requests to the database: single reads, single writes, transactions"
        );
        Self {
            reads: Both::new("read"),
            writes: Both::new("write"),
            transactions: Both::new("transaction"),
        }
    }

    pub(crate) fn count(&self, sql: Sql) {
        match sql.texts().reads_only {
            true => self.reads.count(),
            false => self.writes.count(),
        }
    }

    pub(crate) fn count_transaction(&self) {
        self.transactions.count();
    }

    pub(crate) fn read(&self) -> Work {
        Work {
            reads: self.reads.read(),
            writes: self.writes.read(),
            transactions: self.transactions.read(),
        }
    }
}
