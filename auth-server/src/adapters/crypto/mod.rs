//! Cryptography behind ports.

mod argon2id;

pub use argon2id::{Argon2Hasher, HasherConfig};
