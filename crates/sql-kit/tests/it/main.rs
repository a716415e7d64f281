//! The executor as its users see it, on every engine, and what is special about SQLite's shared writer
//! and about a PostgreSQL that does not answer.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![expect(clippy::disallowed_methods, reason = "tests drop and abort tasks at will")]

mod group_commit;
mod patience;
mod suite;
