//! Everything that knows a technology: HTTP in front, SQL and cryptography behind.

pub mod http;
