use super::*;

/// Answers with what no resolver of the guarded client would let through.
#[derive(Debug)]
struct Loopback;

#[async_trait]
impl HostLookup for Loopback {
    async fn lookup(&self, _host: &str) -> std::io::Result<Vec<std::net::IpAddr>> {
        Ok(vec![std::net::Ipv4Addr::LOCALHOST.into()])
    }
}

#[tokio::test]
async fn whatever_connected_it_is_not_a_private_address_that_answers() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = [0; 1024];
        let _ = stream.read(&mut seen).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]")
            .await
            .unwrap();
    };
    let clients = Clients::build(&ExtraRoots::default(), Arc::new(Loopback)).unwrap();
    let url = url::Url::parse(&format!("http://client.example:{port}/")).unwrap();
    let request = OutboundRequest::get(Purpose::JwksUri, url.as_str());
    // The client without a rule stands in for a resolver that has failed us.
    let (response, ()) = tokio::join!(send(&clients.open, url, request), serve);
    assert_eq!(check_peer(&response.unwrap()), Err(Refusal::NotPublic.into()));
}

#[test]
fn nothing_secret_is_shown() {
    let body = OutboundBody::Form(vec![("logout_token", "ey-secret".into())]);
    let request =
        OutboundRequest::post(Purpose::BackchannelLogout, "https://x", body).with_bearer("bearer-secret".into());
    let shown = format!("{request:?}");
    assert!(!shown.contains("secret"), "{shown}");
}
