//! Looks at what callers and vendors name by a URL, without credentials. Redirects are followed by hand, each under the same rules.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use reqwest::{
    Client, Response,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, LOCATION},
};
use service_kit::{Network, Reach};
use tokio::{sync::OnceCell, time::timeout};
use url::Url;

use crate::ports::fetcher::{FetchFault, Fetcher, Found, Room};

/// Signed URLs of object stores are long.
const MAX_URL_BYTES: usize = 8192;
const MAX_REDIRECTS: usize = 3;
const CONNECT: Duration = Duration::from_secs(5);
/// A server that sends nothing for so long has stopped.
const IDLE: Duration = Duration::from_secs(10);
/// What is allocated before the first byte is there, whatever length the server claims.
const FIRST_ROOM: usize = 64 * 1024;

/// What is fetched.
#[derive(Debug, Clone)]
pub struct FetchRules {
    pub enabled: bool,
    /// What is not public, and allowed.
    pub networks: Vec<Network>,
    pub max_bytes: usize,
    pub timeout: Duration,
}

/// The guarded client.
pub struct HttpFetcher {
    rules: FetchRules,
    reach: Reach,
    /// PEM.
    extra_ca: Option<Vec<u8>>,
    /// Made for the first URL: reading the system's certificates takes tens of milliseconds.
    client: OnceCell<Client>,
}

impl fmt::Debug for HttpFetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpFetcher")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl HttpFetcher {
    pub fn new(rules: FetchRules, extra_ca: Option<Vec<u8>>) -> Self {
        let networks: Arc<[Network]> = rules.networks.clone().into();
        Self {
            reach: Reach::new(networks, true),
            rules,
            extra_ca,
            client: OnceCell::new(),
        }
    }

    async fn client(&self) -> Result<&Client, FetchFault> {
        let build = || async {
            let (reach, extra_ca) = (self.reach.clone(), self.extra_ca.clone());
            let built = tokio::task::spawn_blocking(move || client(reach, extra_ca.as_deref()));
            built.await.map_err(|_| FetchFault::Failed)?.map_err(|error| {
                tracing::error!(error = %error.without_url(), "the client that fetches URLs cannot be built");
                FetchFault::Failed
            })
        };
        self.client.get_or_try_init(build).await
    }

    /// A URL that may be asked, as far as the URL tells.
    fn read(&self, url: Url) -> Result<Url, FetchFault> {
        let plain = matches!(url.scheme(), "http" | "https")
            && url.as_str().len() <= MAX_URL_BYTES
            && url.username().is_empty()
            && url.password().is_none();
        let allowed = url.has_host() && super::literal(&url).is_none_or(|address| self.reach.covers(address));
        (plain && allowed).then_some(url).ok_or(FetchFault::Refused)
    }

    async fn follow(&self, url: &str, limit: usize, room: &Room) -> Result<Found, FetchFault> {
        let mut url = self.read(super::parse(url).ok_or(FetchFault::Refused)?)?;
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.ask(url.clone()).await?;
            if answer.status().is_success() {
                return collect(answer, limit, room).await;
            }
            let next = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = next
                .filter(|_| answer.status().is_redirection())
                .ok_or(FetchFault::Failed)?;
            let next = self.read(url.join(next).map_err(|_| FetchFault::Refused)?)?;
            // What began in secret does not go on in the clear.
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(FetchFault::Refused);
            }
            url = next;
        }
        Err(FetchFault::Failed)
    }

    async fn ask(&self, url: Url) -> Result<Response, FetchFault> {
        let request = self.client().await?.get(url);
        let request = request.header(ACCEPT, "*/*").header(ACCEPT_ENCODING, "identity");
        let answer = request.send().await.map_err(|error| match error.is_timeout() {
            true => FetchFault::Late,
            false => FetchFault::Failed,
        })?;
        // The third line, after URL and resolver: whatever connected, it is not a forbidden address that has answered.
        match answer.remote_addr().is_some_and(|peer| self.reach.covers(peer.ip())) {
            true => Ok(answer),
            false => Err(FetchFault::Refused),
        }
    }
}

fn client(reach: Reach, extra_ca: Option<&[u8]>) -> Result<Client, reqwest::Error> {
    let client = super::client(reach, extra_ca)?;
    client.connect_timeout(CONNECT).read_timeout(IDLE).build()
}

async fn collect(mut answer: Response, limit: usize, room: &Room) -> Result<Found, FetchFault> {
    let claimed = answer.content_length().unwrap_or(0);
    let claimed = usize::try_from(claimed).unwrap_or(usize::MAX);
    if claimed > limit {
        return Err(FetchFault::TooLarge);
    }
    if claimed > room.left() {
        return Err(FetchFault::NoRoom);
    }
    // Of the head only what tells what the content is.
    let kind = answer.headers().get(CONTENT_TYPE).cloned();
    let headers: HeaderMap = kind.into_iter().map(|kind| (CONTENT_TYPE, kind)).collect();
    let mut body = BytesMut::with_capacity(claimed.min(FIRST_ROOM));
    while let Some(more) = answer.chunk().await.map_err(|error| match error.is_timeout() {
        true => FetchFault::Late,
        false => FetchFault::Failed,
    })? {
        if body.len() + more.len() > limit {
            return Err(FetchFault::TooLarge);
        }
        if !room.take(more.len()) {
            return Err(FetchFault::NoRoom);
        }
        body.extend_from_slice(&more);
    }
    Ok(Found {
        headers,
        body: Bytes::from(body),
    })
}

#[async_trait]
impl Fetcher for HttpFetcher {
    async fn fetch(&self, url: &str, limit: usize, room: &Room, within: Duration) -> Result<Found, FetchFault> {
        if !self.rules.enabled {
            return Err(FetchFault::Refused);
        }
        let limit = limit.min(self.rules.max_bytes);
        timeout(within.min(self.rules.timeout), self.follow(url, limit, room))
            .await
            .unwrap_or(Err(FetchFault::Late))
    }

    fn is_on(&self) -> bool {
        self.rules.enabled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::atomic::{AtomicUsize, Ordering};

    use service_kit::Tasks;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    const LONG: Duration = Duration::from_secs(20);

    fn rules(networks: &[&str]) -> FetchRules {
        FetchRules {
            enabled: true,
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            max_bytes: 1000,
            timeout: LONG,
        }
    }

    fn ample() -> Room {
        Room::of(usize::MAX)
    }

    fn inside() -> HttpFetcher {
        HttpFetcher::new(rules(&["127.0.0.1"]), None)
    }

    /// A server that answers each connection with the next of some texts; the last one again and again. Says how often it was asked.
    async fn server(answers: Vec<String>) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let tasks = Tasks::default();
        let connections = tasks.clone();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let at = count.fetch_add(1, Ordering::SeqCst);
                let answer = answers[at.min(answers.len() - 1)].clone();
                connections.spawn(async move {
                    let mut head = [0; 4096];
                    let read = stream.read(&mut head).await.unwrap();
                    let head = String::from_utf8_lossy(&head[..read]).to_ascii_lowercase();
                    assert!(!head.contains("authorization") && !head.contains("cookie") && !head.contains("referer"));
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    if answer.contains("x-stalls") {
                        tokio::time::sleep(LONG).await;
                    }
                });
            }
        });
        (port, asked)
    }

    fn ok(body: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\nset-cookie: a=b\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn to(place: &str) -> String {
        format!("HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n")
    }

    #[tokio::test]
    async fn content_and_its_type_are_what_is_brought() {
        let (port, _) = server(vec![ok("four")]).await;
        let found = inside()
            .fetch(&format!("http://127.0.0.1:{port}/a?b=c"), 100, &ample(), LONG)
            .await
            .unwrap();
        assert_eq!(
            (&found.body[..], &found.headers[CONTENT_TYPE]),
            (
                &b"four"[..],
                &"image/png".parse::<reqwest::header::HeaderValue>().unwrap()
            )
        );
        assert_eq!(found.headers.len(), 1);
    }

    #[tokio::test]
    async fn nothing_is_asked_that_is_not_public() {
        let (port, asked) = server(vec![ok("secret")]).await;
        let outside = HttpFetcher::new(rules(&[]), None);
        for url in [
            format!("http://127.0.0.1:{port}/"),
            // A name that leads here, which the resolver finds out.
            format!("http://localhost:{port}/"),
            format!("http://127.1:{port}/"),
            format!("http://2130706433:{port}/"),
            format!("http://0x7f.0.0.1:{port}/"),
            format!("http://[::ffff:127.0.0.1]:{port}/"),
            format!("http://0.0.0.0:{port}/"),
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            "http://[fd00:ec2::254]/".to_owned(),
            format!("http://user:word@127.0.0.1:{port}/"),
            "file:///etc/passwd".to_owned(),
            "gopher://127.0.0.1/".to_owned(),
            "data:text/plain,x".to_owned(),
            "//127.0.0.1/".to_owned(),
            "http://exa\tmple.test/".to_owned(),
            "http://example.test\\@127.0.0.1/".to_owned(),
            format!("http://example.test/{}", "a".repeat(MAX_URL_BYTES)),
        ] {
            let fault = outside.fetch(&url, 100, &ample(), LONG).await.unwrap_err();
            assert!(matches!(fault, FetchFault::Refused | FetchFault::Failed), "{url}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        let off = HttpFetcher::new(
            FetchRules {
                enabled: false,
                ..rules(&["127.0.0.1"])
            },
            None,
        );
        let fault = off
            .fetch(&format!("http://127.0.0.1:{port}/"), 100, &ample(), LONG)
            .await
            .unwrap_err();
        assert_eq!((fault, asked.load(Ordering::SeqCst)), (FetchFault::Refused, 0));
    }

    #[tokio::test]
    async fn a_redirect_leads_nowhere_that_a_url_may_not() {
        for place in [
            "http://169.254.169.254/latest/meta-data/",
            "http://127.0.0.2/",
            "//10.0.0.1/",
            "http://[::1]/",
            "http://localhost.localdomain.invalid/",
            "file:///etc/passwd",
            "http://user@127.0.0.1/",
        ] {
            let (port, asked) = server(vec![to(place)]).await;
            let fault = inside()
                .fetch(&format!("http://127.0.0.1:{port}/"), 100, &ample(), LONG)
                .await
                .unwrap_err();
            assert!(matches!(fault, FetchFault::Refused | FetchFault::Failed), "{place}");
            assert_eq!(asked.load(Ordering::SeqCst), 1, "{place}");
        }
        let (port, asked) = server(vec![to("/a"), to("b"), to("?c"), ok("there")]).await;
        let url = format!("http://127.0.0.1:{port}/");
        assert_eq!(inside().fetch(&url, 100, &ample(), LONG).await.unwrap().body, "there");
        assert_eq!(asked.load(Ordering::SeqCst), 4);
        let (port, asked) = server(vec![to("/again")]).await;
        let url = format!("http://127.0.0.1:{port}/");
        assert_eq!(
            inside().fetch(&url, 100, &ample(), LONG).await.unwrap_err(),
            FetchFault::Failed
        );
        assert_eq!(asked.load(Ordering::SeqCst), 1 + MAX_REDIRECTS);
    }

    #[tokio::test]
    async fn what_is_too_large_or_too_slow_is_left() {
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(3000));
        let claims = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\nx".to_owned();
        let packed = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n".to_owned() + &"x".repeat(2000);
        for answer in [ok(&"x".repeat(1001)), endless, claims, packed] {
            let (port, _) = server(vec![answer]).await;
            let fault = inside()
                .fetch(&format!("http://127.0.0.1:{port}/"), usize::MAX, &ample(), LONG)
                .await
                .unwrap_err();
            assert_eq!(fault, FetchFault::TooLarge);
        }
        let (port, _) = server(vec![ok("five!")]).await;
        let url = format!("http://127.0.0.1:{port}/");
        assert_eq!(
            inside().fetch(&url, 4, &ample(), LONG).await.unwrap_err(),
            FetchFault::TooLarge
        );
        let stalls = "HTTP/1.1 200 OK\r\nx-stalls: 1\r\ncontent-length: 9\r\n\r\nx".to_owned();
        let (port, _) = server(vec![stalls]).await;
        let url = format!("http://127.0.0.1:{port}/");
        let short = Duration::from_millis(300);
        assert_eq!(
            inside().fetch(&url, 100, &ample(), short).await.unwrap_err(),
            FetchFault::Late
        );
        let (port, _) = server(vec!["HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned()]).await;
        let url = format!("http://127.0.0.1:{port}/");
        assert_eq!(
            inside().fetch(&url, 100, &ample(), LONG).await.unwrap_err(),
            FetchFault::Failed
        );
    }

    #[tokio::test]
    async fn what_several_urls_lead_to_fits_into_one_room_or_is_left() {
        let unnamed = |body: &str| format!("HTTP/1.1 200 OK\r\n\r\n{body}");
        for answer in [ok("four"), unnamed("four")] {
            let (port, _) = server(vec![answer]).await;
            let url = format!("http://127.0.0.1:{port}/");
            let room = Room::of(11);
            for _ in 0..2 {
                inside().fetch(&url, 100, &room, LONG).await.unwrap();
            }
            assert_eq!(room.left(), 3);
            let fault = inside().fetch(&url, 100, &room, LONG).await.unwrap_err();
            assert_eq!(fault, FetchFault::NoRoom, "one byte is missing");
            let exact = Room::of(4);
            inside().fetch(&url, 100, &exact, LONG).await.unwrap();
            assert_eq!(exact.left(), 0);
        }
    }
}
