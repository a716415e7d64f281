//! OpenAI's Responses.

pub mod render;
