//! Wire formats of vendors: pure codecs, one folder each.

pub mod normalised;
pub mod openai;
pub mod raw;
