//! Pages for browsers: what they show, in which words, and how they look.

pub(crate) mod assets;
pub(crate) mod texts;
pub(crate) mod views;
