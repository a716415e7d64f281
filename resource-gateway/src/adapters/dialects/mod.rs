//! Wire formats of vendors: pure codecs, one folder each.

pub mod openai;
