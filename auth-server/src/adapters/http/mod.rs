//! Inbound HTTP: router, extractors, responders, pages.

pub(crate) mod pages;
