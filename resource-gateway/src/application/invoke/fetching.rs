//! What lies behind URLs, looked at for calls: for vendors that do not look behind a caller's URLs themselves, and for answers that
//! are URLs.

use std::{sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::attempt::MAX_REPLY_BYTES;
use crate::{
    domain::{
        fault::{ErrorKind, Fault, FaultClass, PublicError},
        interface::Capability,
    },
    ports::{
        codec::{Fetched, MOST_URLS},
        fetcher::{FetchFault, Fetcher, Found, Room},
    },
};

/// Pictures that vendors take are smaller.
const MAX_BYTES: usize = 20 * 1024 * 1024;
/// All that the URLs of one request lead to. Vendors take less in one request.
const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;
/// Who finds no room for so long is told to come back: there may not be any soon, and others wait behind.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Fetches for all calls, which hold so many bytes together and no more.
#[derive(Debug)]
pub struct Fetching {
    fetcher: Arc<dyn Fetcher>,
    /// Behind one URL.
    max_bytes: usize,
    max_held_bytes: usize,
    /// A permit for each byte.
    room: Arc<Semaphore>,
}

impl Fetching {
    pub fn new(fetcher: Arc<dyn Fetcher>, max_bytes: usize, max_held_bytes: usize) -> Self {
        let max_held_bytes = max_held_bytes.min(Semaphore::MAX_PERMITS);
        Self {
            fetcher,
            max_bytes,
            max_held_bytes,
            room: Arc::new(Semaphore::new(max_held_bytes)),
        }
    }

    /// Room for so many bytes, which is waited for.
    async fn reserve(&self, bytes: usize, until: Instant, held: Held) -> Result<OwnedSemaphorePermit, Fault> {
        let bytes = u32::try_from(bytes.min(self.max_held_bytes)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room);
        let reserved = match held {
            // Two that hold something and wait for each other would wait for ever.
            Held::Something => room.try_acquire_many_owned(bytes).ok(),
            Held::Nothing => {
                let reserved = timeout_at(until, room.acquire_many_owned(bytes)).await;
                reserved.ok().and_then(Result::ok)
            }
        };
        reserved.ok_or_else(Fault::no_room)
    }

    /// All of them at the same time, in their order; or which of them cannot be had, and why.
    async fn fetch(
        &self,
        urls: &[String],
        limit: usize,
        room: &Room,
        deadline: Instant,
    ) -> Result<Vec<Found>, (String, FetchFault)> {
        let fetch = async |url: &String| {
            let within = deadline.saturating_duration_since(Instant::now());
            let found = self.fetcher.fetch(url, limit, room, within).await;
            found.map_err(|fault| (url.clone(), fault))
        };
        try_join_all(urls.iter().map(fetch)).await
    }
}

/// Whether a call that wants room has some already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    Something,
}

/// What was fetched for one call. All its attempts have it in common: nobody is asked for the same twice.
#[derive(Debug)]
pub(super) struct Brought<'f> {
    fetching: &'f Fetching,
    /// What the call is about.
    capability: Capability,
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    there: Vec<Fetched>,
    refused: Vec<Refused>,
    /// As much as is there.
    held: Option<OwnedSemaphorePermit>,
}

/// A URL that leads to nothing, with what the caller is told.
#[derive(Debug)]
struct Refused {
    url: String,
    why: PublicError,
}

impl Shelf {
    fn held(&self) -> Held {
        match self.held {
            Some(_) => Held::Something,
            None => Held::Nothing,
        }
    }
}

impl<'f> Brought<'f> {
    pub(super) fn new(fetching: &'f Fetching, capability: Capability) -> Self {
        Self {
            fetching,
            capability,
            shelf: Mutex::default(),
        }
    }

    /// Whether anything is fetched.
    pub(super) fn is_on(&self) -> bool {
        self.fetching.fetcher.is_on()
    }

    /// Fetches what is not there yet, and has the call written with all of it.
    ///
    /// # Errors
    /// A URL leads to nothing that can be had; or there is no room for it now.
    pub(super) async fn with<T>(
        &self,
        urls: Vec<String>,
        deadline: Instant,
        write: impl FnOnce(&[Fetched]) -> T,
    ) -> Result<T, Fault> {
        // An attempt beside this one may be fetching the same: then it is waited for.
        let mut shelf = self.shelf.lock().await;
        self.fill(&mut shelf, urls, deadline).await?;
        Ok(write(&shelf.there))
    }

    async fn fill(&self, shelf: &mut Shelf, urls: Vec<String>, deadline: Instant) -> Result<(), Fault> {
        let mut missing: Vec<String> = Vec::new();
        for url in urls {
            if let Some(refused) = shelf.refused.iter().find(|refused| refused.url == url) {
                return Err(Fault::unsupported(refused.why.clone()));
            }
            if !missing.contains(&url) && shelf.there.iter().all(|found| found.url != url) {
                missing.push(url);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        if shelf.there.len() + missing.len() > MOST_URLS {
            let message =
                format!("The request names more than {MOST_URLS} URLs that have to be fetched for its provider.");
            return Err(Fault::unsupported(PublicError::invalid(None, "too_many_urls", message)));
        }
        let limit = MAX_BYTES.min(self.fetching.max_bytes);
        let there: usize = shelf.there.iter().map(|found| found.bytes.len()).sum();
        let wanted = (limit * missing.len()).min(MAX_REQUEST_BYTES.saturating_sub(there));
        let until = deadline.min(Instant::now() + LONGEST_WAIT);
        let mut held = self.fetching.reserve(wanted, until, shelf.held()).await?;
        let room = Room::of(held.num_permits());
        let found = self.fetching.fetch(&missing, limit, &room, deadline).await;
        let fetched = match found {
            Ok(found) => missing
                .into_iter()
                .zip(found)
                .map(|(url, found)| fetched(url, found, self.capability))
                .collect::<Result<Vec<_>, _>>(),
            Err((url, fault)) => {
                let why = refusal(fault, limit);
                Err(Box::new(Refused { url, why }))
            }
        };
        match fetched {
            Ok(fetched) => {
                // What was not needed goes to whoever waits.
                drop(held.split(room.left()));
                match &mut shelf.held {
                    Some(earlier) => earlier.merge(held),
                    None => shelf.held = Some(held),
                }
                shelf.there.extend(fetched);
                Ok(())
            }
            Err(refused) => {
                let why = refused.why.clone();
                shelf.refused.push(*refused);
                Err(Fault::unsupported(why))
            }
        }
    }

    /// What lies behind URLs that a vendor's answer names, in their order. All of it is one answer, and no longer than one.
    ///
    /// # Errors
    /// It is not there, or is too much; or there is no room for it now.
    pub(super) async fn results(&self, urls: &[String], deadline: Instant) -> Result<Results, Fault> {
        let limit = self.fetching.max_bytes.min(MAX_REPLY_BYTES);
        let wanted = limit.saturating_mul(urls.len()).min(MAX_REPLY_BYTES);
        // Who is fetching beside this has room, or is about to have some.
        let held = self.shelf.try_lock().map_or(Held::Something, |shelf| shelf.held());
        // As long as there is time: without them the work would be done, and paid for, once more.
        let mut held = self.fetching.reserve(wanted, deadline, held).await?;
        let room = Room::of(held.num_permits());
        let mut found = Vec::with_capacity(urls.len());
        for some in urls.chunks(MOST_URLS) {
            let some = self.fetching.fetch(some, limit, &room, deadline).await;
            found.extend(some.map_err(|(_, fault)| missed(fault))?);
        }
        drop(held.split(room.left()));
        Ok(Results { found, _held: held })
    }
}

/// What an answer led to; it takes room as long as it is there.
#[derive(Debug)]
pub(super) struct Results {
    pub(super) found: Vec<Found>,
    _held: OwnedSemaphorePermit,
}

fn fetched(url: String, found: Found, capability: Capability) -> Result<Fetched, Box<Refused>> {
    let claimed = found.headers.get(http::header::CONTENT_TYPE);
    let claimed = claimed.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(media_type) = media_type(claimed, &found.body, capability) else {
        let message = match capability {
            Capability::Transcription => "A URL in the request leads to what is no recording.",
            _ => "A URL in the request leads to what is neither a picture nor a document.",
        };
        let why = PublicError::new(400, ErrorKind::InvalidRequest, "url_not_fetched", message);
        return Err(Box::new(Refused { url, why }));
    };
    Ok(Fetched {
        url,
        media_type,
        bytes: found.body,
    })
}

/// What content is: by its own first bytes, which many servers have no name for, else by what its server says. Pages and programs are
/// nothing that a request can be about.
fn media_type(claimed: &str, body: &[u8], capability: Capability) -> Option<String> {
    let hears = capability == Capability::Transcription;
    let known = match body {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] if hears => Some("audio/wav"),
        [b'I', b'D', b'3', ..] if hears => Some("audio/mpeg"),
        [b'O', b'g', b'g', b'S', ..] if hears => Some("audio/ogg"),
        [b'f', b'L', b'a', b'C', ..] if hears => Some("audio/flac"),
        _ if hears => None,
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [b'%', b'P', b'D', b'F', b'-', ..] => Some("application/pdf"),
        _ => None,
    };
    if let Some(known) = known {
        return Some(known.to_owned());
    }
    let claimed = claimed
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let fits = match hears {
        true => claimed.starts_with("audio/"),
        false => claimed.starts_with("image/") || claimed == "text/plain" || claimed == "application/pdf",
    };
    fits.then_some(claimed)
}

fn refusal(fault: FetchFault, limit: usize) -> PublicError {
    let (status, message) = match fault {
        FetchFault::TooLarge => (
            413,
            format!("A URL in the request {fault}: {limit} bytes are taken at most."),
        ),
        FetchFault::NoRoom => {
            let message = format!("The URLs in the request lead to more than {MAX_REQUEST_BYTES} bytes together.");
            (413, message)
        }
        FetchFault::Refused | FetchFault::Failed | FetchFault::Late => (400, format!("A URL in the request {fault}.")),
    };
    PublicError::new(status, ErrorKind::InvalidRequest, "url_not_fetched", message)
}

fn missed(fault: FetchFault) -> Fault {
    match fault {
        FetchFault::Late => Fault::of(FaultClass::Timeout),
        FetchFault::Failed => Fault::of(FaultClass::Transport),
        // It was made and is paid for; made once more it would lie there again, and be no smaller.
        FetchFault::Refused | FetchFault::TooLarge | FetchFault::NoRoom => Fault::of(FaultClass::NotFetched),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Mutex as Seen};

    use async_trait::async_trait;
    use bytes::BytesMut;
    use tokio::sync::Notify;

    use super::*;

    /// Places with so many bytes each, of which some are answered late.
    #[derive(Debug, Default)]
    struct Places {
        lengths: HashMap<&'static str, usize>,
        asked: Seen<Vec<String>>,
        late: Option<Notify>,
    }

    #[async_trait]
    impl Fetcher for Places {
        async fn fetch(&self, url: &str, limit: usize, room: &Room, _: Duration) -> Result<Found, FetchFault> {
            self.asked.lock().unwrap().push(url.to_owned());
            if let Some(late) = &self.late {
                late.notified().await;
            }
            let length = *self.lengths.get(url).ok_or(FetchFault::Failed)?;
            if length > limit {
                return Err(FetchFault::TooLarge);
            }
            let kind = [(http::header::CONTENT_TYPE, http::HeaderValue::from_static("image/x"))];
            match room.take(length) {
                true => Ok(Found {
                    headers: kind.into_iter().collect(),
                    body: BytesMut::zeroed(length).freeze(),
                }),
                false => Err(FetchFault::NoRoom),
            }
        }
    }

    impl Places {
        fn of(lengths: &[(&'static str, usize)]) -> Self {
            Self {
                lengths: lengths.iter().copied().collect(),
                ..Self::default()
            }
        }

        fn asked(&self) -> Vec<String> {
            self.asked.lock().unwrap().clone()
        }
    }

    const ALL: usize = 512 * 1024 * 1024;

    fn fetching(places: &Arc<Places>, held: usize) -> Fetching {
        Fetching::new(Arc::clone(places) as Arc<dyn Fetcher>, 32 * 1024 * 1024, held)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn urls(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    async fn bring(brought: &Brought<'_>, names: &[&str]) -> Result<usize, PublicError> {
        let brought = brought.with(urls(names), soon(), <[Fetched]>::len).await;
        brought.map_err(|fault| fault.to_public())
    }

    #[tokio::test]
    async fn nobody_is_asked_twice_for_one_call() {
        let places = Arc::new(Places::of(&[("a", 3), ("b", 4)]));
        let fetching = fetching(&places, ALL);
        let brought = Brought::new(&fetching, Capability::Chat);
        assert_eq!(bring(&brought, &["a", "b", "a"]).await, Ok(2));
        // As the next vendor does.
        assert_eq!(bring(&brought, &["b", "a"]).await, Ok(2));
        assert_eq!(places.asked(), ["a", "b"]);
        let gone = bring(&brought, &["gone"]).await.unwrap_err();
        assert_eq!(gone.status, 400);
        assert_eq!(bring(&brought, &["a", "gone"]).await, Err(gone));
        assert_eq!(places.asked(), ["a", "b", "gone"]);
        assert_eq!(bring(&Brought::new(&fetching, Capability::Chat), &["a"]).await, Ok(1));
        assert_eq!(places.asked().len(), 4, "another call looks for itself");
    }

    #[tokio::test]
    async fn attempts_beside_each_other_share_what_is_fetched() {
        let places = Arc::new(Places {
            late: Some(Notify::new()),
            ..Places::of(&[("a", 3)])
        });
        let fetching = fetching(&places, ALL);
        let brought = Brought::new(&fetching, Capability::Chat);
        let opened = async {
            while places.asked().is_empty() {
                tokio::task::yield_now().await;
            }
            if let Some(late) = &places.late {
                late.notify_one();
            }
        };
        let (one, other, ()) = tokio::join!(bring(&brought, &["a"]), bring(&brought, &["a"]), opened);
        assert_eq!((one, other), (Ok(1), Ok(1)));
        assert_eq!(places.asked(), ["a"]);
    }

    #[tokio::test]
    async fn a_request_leads_to_so_many_bytes_and_not_one_more() {
        let rest = MAX_REQUEST_BYTES - 3 * MAX_BYTES;
        let lengths = [
            ("a", MAX_BYTES),
            ("b", MAX_BYTES),
            ("c", MAX_BYTES),
            ("rest", rest),
            ("more", rest + 1),
            ("one", 1),
            ("large", MAX_BYTES + 1),
        ];
        let places = Arc::new(Places::of(&lengths));
        let fetching = fetching(&places, ALL);
        let brought = Brought::new(&fetching, Capability::Chat);
        assert_eq!(bring(&brought, &["a", "b", "c", "rest"]).await, Ok(4));
        // Nor by and by.
        let over = bring(&brought, &["one"]).await.unwrap_err();
        assert_eq!((over.status, over.code.as_deref()), (413, Some("url_not_fetched")));
        assert!(over.message.contains(&MAX_REQUEST_BYTES.to_string()), "{over:?}");
        let at_once = bring(&Brought::new(&fetching, Capability::Chat), &["a", "b", "c", "more"]).await;
        assert_eq!(at_once, Err(over));
        let large = bring(&Brought::new(&fetching, Capability::Chat), &["large"])
            .await
            .unwrap_err();
        assert_eq!(large.status, 413);
        assert!(large.message.contains(&MAX_BYTES.to_string()), "{large:?}");
    }

    #[tokio::test]
    async fn a_request_names_so_many_urls_and_not_one_more() {
        let names: Vec<String> = (0..=MOST_URLS).map(|at| at.to_string()).collect();
        let lengths = names.iter().map(|name| (&*name.clone().leak(), 1)).collect();
        let places = Arc::new(Places {
            lengths,
            ..Places::default()
        });
        let fetching = fetching(&places, ALL);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let error = bring(&Brought::new(&fetching, Capability::Chat), &names)
            .await
            .unwrap_err();
        assert_eq!(error.code.as_deref(), Some("too_many_urls"));
        let twice = [&names[..MOST_URLS], &names[..MOST_URLS]].concat();
        assert_eq!(
            bring(&Brought::new(&fetching, Capability::Chat), &twice).await,
            Ok(MOST_URLS)
        );
    }

    #[tokio::test]
    async fn calls_together_hold_so_many_bytes_and_the_next_one_waits() {
        let places = Arc::new(Places::of(&[("a", 7)]));
        let fetching = fetching(&places, MAX_BYTES + 6);
        let first = Brought::new(&fetching, Capability::Chat);
        assert_eq!(bring(&first, &["a"]).await, Ok(1));
        // As much as one URL may lead to has to be free, and one byte is missing.
        let second = Brought::new(&fetching, Capability::Chat);
        let until = Instant::now() + Duration::from_millis(50);
        let late = second.with(urls(&["a"]), until, <[Fetched]>::len).await.unwrap_err();
        assert!(Instant::now() >= until);
        let error = late.to_public();
        assert_eq!((error.status, error.code.as_deref()), (503, Some("fetching_busy")));
        assert_eq!(error.hints.retry_after.as_deref(), Some("1"));
        assert!(!late.blames_address(), "no vendor was asked");
        assert_eq!(places.asked().len(), 1, "nothing is fetched that has no room");
        let freed = async { drop(first) };
        let (found, ()) = tokio::join!(bring(&second, &["a"]), freed);
        assert_eq!(found, Ok(1));
    }

    #[tokio::test]
    async fn whoever_holds_something_waits_for_nobody() {
        let places = Arc::new(Places::of(&[("a", 6), ("b", 6), ("c", 6)]));
        let fetching = fetching(&places, MAX_BYTES + 6);
        let first = Brought::new(&fetching, Capability::Chat);
        assert_eq!(bring(&first, &["a"]).await, Ok(1));
        let beside = bring(&Brought::new(&fetching, Capability::Chat), &["a"]).await;
        assert_eq!(beside, Ok(1), "what is left is enough to the last byte");
        assert_eq!(bring(&first, &["a", "b"]).await, Ok(2));
        let began = Instant::now();
        assert_eq!(bring(&first, &["c"]).await.unwrap_err().status, 503);
        assert!(began.elapsed() < LONGEST_WAIT);
        drop(first);
        assert_eq!(bring(&Brought::new(&fetching, Capability::Chat), &["c"]).await, Ok(1));
    }

    #[tokio::test]
    async fn the_results_of_one_answer_are_no_longer_than_an_answer() {
        let limit = 32 * 1024 * 1024;
        let lengths = [
            ("a", limit),
            ("b", limit - 1),
            ("one", 1),
            ("two", 2),
            ("large", limit + 1),
        ];
        let places = Arc::new(Places::of(&lengths));
        let fetching = fetching(&places, ALL);
        let results = async |names: &[&str]| {
            let brought = Brought::new(&fetching, Capability::Chat);
            let results = brought.results(&urls(names), soon()).await?;
            Ok::<_, Fault>(results.found.iter().map(|found| found.body.len()).collect::<Vec<_>>())
        };
        let whole = results(&["a", "a", "a", "b", "one"]).await;
        assert_eq!(whole.unwrap(), [limit, limit, limit, limit - 1, 1]);
        for over in [&["a", "a", "a", "b", "two"][..], &["large"]] {
            let fault = results(over).await.unwrap_err();
            assert_eq!((fault.class, fault.is_retryable()), (FaultClass::NotFetched, false));
            assert!(!fault.blames_address(), "the vendor has done its part");
        }
        assert_eq!(fetching.room.available_permits(), ALL, "what ends gives its room back");
    }

    #[test]
    fn content_is_what_its_bytes_say_before_what_its_server_says() {
        for (claimed, body, wanted) in [
            ("application/octet-stream", &b"\x89PNG\r\n"[..], Some("image/png")),
            ("text/html", b"\xff\xd8\xff\xe0", Some("image/jpeg")),
            ("", b"GIF89a", Some("image/gif")),
            ("", b"RIFF....WEBPVP8", Some("image/webp")),
            ("", b"%PDF-1.7", Some("application/pdf")),
            ("IMAGE/Bmp; x=y", b"BM", Some("image/bmp")),
            ("text/plain", b"hello", Some("text/plain")),
            ("text/html", b"<html>", None),
            ("application/json", b"{\"AccessKeyId\":\"x\"}", None),
            ("application/octet-stream", b"\x7fELF", None),
            ("", b"", None),
        ] {
            assert_eq!(
                media_type(claimed, body, Capability::Chat).as_deref(),
                wanted,
                "{claimed}"
            );
        }
        for (claimed, body, wanted) in [
            ("application/octet-stream", &b"RIFF....WAVEfmt "[..], Some("audio/wav")),
            ("text/html", b"ID3\x03", Some("audio/mpeg")),
            ("", b"OggS", Some("audio/ogg")),
            ("", b"fLaC", Some("audio/flac")),
            ("Audio/AMR", b"#!AMR", Some("audio/amr")),
            ("image/png", b"\x89PNG\r\n", None),
            ("text/plain", b"hello", None),
            ("", b"", None),
        ] {
            let found = media_type(claimed, body, Capability::Transcription);
            assert_eq!(found.as_deref(), wanted, "{claimed}");
        }
    }
}
