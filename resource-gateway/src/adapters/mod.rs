//! Inbound and outbound technology behind the ports.
