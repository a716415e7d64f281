//! The executor as its users see it, on every engine, and what is special about SQLite's shared writer.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod group_commit;
mod suite;
