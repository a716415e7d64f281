//! Pictures of clients, fetched and kept by the provider: the browser of a person who signs in tells nobody about it, and what a
//! client's host sends is looked at before a page of ours shows it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use service_kit::Clock;

use crate::{
    application::{
        authenticate_client::ClientDirectory,
        client_documents::{CachedDocuments, DocumentKind, Keeping, MediaType},
    },
    domain::ids::ClientId,
    ports::{
        outbound::{Outbound, Purpose},
        store::StoreResult,
    },
};

/// Where in a text an SVG's element must begin: prologue and comments stand before it.
const SVG_WITHIN: usize = 2048;

/// A picture that browsers show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logo {
    pub media_type: &'static str,
    pub bytes: Bytes,
}

/// What can be shown in a client's place on a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    Logo(Arc<Logo>),
    /// There is none, or it cannot be had: by this name the client is known.
    Name(String),
}

/// Clients' logos.
#[derive(Debug, Clone)]
pub struct ClientLogos {
    clients: ClientDirectory,
    logos: Arc<CachedDocuments<Logo>>,
}

impl ClientLogos {
    pub fn new(clients: ClientDirectory, outbound: Arc<dyn Outbound>, clock: Arc<dyn Clock>) -> Self {
        let keeping = Keeping {
            usual: Duration::from_secs(60 * 60),
            shortest: Duration::from_secs(10 * 60),
            longest: Duration::from_secs(24 * 60 * 60),
            failure: Duration::from_secs(5 * 60),
            in_need: Duration::from_secs(24 * 60 * 60),
            refetch_pause: Duration::from_secs(60),
            max_bytes: 16 << 20,
        };
        Self {
            clients,
            logos: Arc::new(CachedDocuments::new(outbound, clock, LOGO, keeping)),
        }
    }

    /// What to show of an active client; `None` when there is none of that id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn show(&self, id: &ClientId) -> StoreResult<Option<Shown>> {
        let Some(client) = self.clients.find(id).await?.filter(|client| client.is_active()) else {
            return Ok(None);
        };
        let logo = match &client.links.logo_uri {
            Some(uri) => self.logos.load(uri).await.ok(),
            None => None,
        };
        Ok(Some(
            logo.map_or_else(|| Shown::Name(client.client_name.clone()), Shown::Logo),
        ))
    }
}

const LOGO: DocumentKind<Logo> = DocumentKind {
    purpose: Purpose::Logo,
    accept: "image/svg+xml, image/webp, image/png, image/jpeg, image/gif",
    media_type: MediaType::Any,
    read: |body| {
        let media_type = media_type(body).ok_or("a picture that browsers show")?;
        let bytes = Bytes::copy_from_slice(body);
        Ok(Logo { media_type, bytes })
    },
};

/// What the bytes are. What their host calls them does not matter: a page must not be served as what it is not.
fn media_type(bytes: &[u8]) -> Option<&'static str> {
    let webp = |bytes: &[u8]| bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    Some(match bytes {
        _ if bytes.starts_with(b"\x89PNG\r\n\x1a\n") => "image/png",
        _ if bytes.starts_with(b"\xff\xd8\xff") => "image/jpeg",
        _ if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") => "image/gif",
        _ if webp(bytes) => "image/webp",
        _ if bytes.starts_with(b"\0\0\x01\0") => "image/x-icon",
        _ if is_svg(bytes) => "image/svg+xml",
        _ => return None,
    })
}

fn is_svg(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else {
        return false;
    };
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let head = text.get(..text.floor_char_boundary(SVG_WITHIN)).unwrap_or_default();
    head.starts_with('<') && head.contains("<svg") && !head.to_ascii_lowercase().contains("<html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_known_by_their_bytes() {
        for (bytes, is) in [
            (&b"\x89PNG\r\n\x1a\n..."[..], Some("image/png")),
            (b"\xff\xd8\xff\xe0", Some("image/jpeg")),
            (b"GIF89a...", Some("image/gif")),
            (b"RIFF\0\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"RIFF\0\0\0\0WAVEfmt ", None),
            (b"\0\0\x01\0\x01\0", Some("image/x-icon")),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Some("image/svg+xml")),
            (
                b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- x --><svg/>",
                Some("image/svg+xml"),
            ),
            (b"<html><body><svg/></body></html>", None),
            (b"<!doctype HTML><HTML><svg/>", None),
            (b"<p>no picture</p>", None),
            (b"svg", None),
            (b"\xff<svg/>", None),
            (b"", None),
        ] {
            assert_eq!(media_type(bytes), is, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
