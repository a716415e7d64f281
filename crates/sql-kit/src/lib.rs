//! One executor over SQLite and PostgreSQL: portable statements, typed arguments, transactions with group commit, migrations under a lock.
