//! Everything that knows a technology: HTTP in front, SQL and cryptography behind.

pub mod crypto;
pub mod http;
pub mod outbound;
pub mod oxide;
pub mod sql;
