//! Applications that ask people from elsewhere, and the people who answer.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::{Browser, Fields, Page, Reply, TestApp, TestClient, TestUser, fields};

pub(crate) const BACKCHANNEL: &str = "/oauth2/backchannel_authentication";

/// A request for a person, with all that good clients send.
pub(crate) fn asking(client: TestClient, user: TestUser) -> Fields {
    fields([("scope", client.scope), ("login_hint", user.name)])
}

impl TestApp {
    pub(crate) async fn ask(&self, client: TestClient, form: &Fields) -> Reply {
        self.as_client(client, BACKCHANNEL, form).await
    }

    /// A request that was taken in: its id.
    pub(crate) async fn asked(&self, client: TestClient, form: &Fields) -> String {
        let reply = self.ask(client, form).await.expect_json(200);
        reply["auth_req_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn ask_after(&self, client: TestClient, auth_req_id: &str) -> Reply {
        let form = fields([
            ("grant_type", "urn:openid:params:grant-type:ciba"),
            ("auth_req_id", auth_req_id),
        ]);
        self.token(client, &form).await
    }

    /// Where the person of a request answers it.
    #[expect(clippy::unused_self, reason = "it stands beside what else a request leads to")]
    pub(crate) fn address_of(&self, auth_req_id: &str) -> String {
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(auth_req_id));
        format!("/approve?request={digest}")
    }

    /// Somebody signs in, finds the one request that waits for them, and presses a button.
    pub(crate) async fn answer_request(&self, user: TestUser, button: &str) {
        let mut browser = self.signed_in(user).await;
        let page = browser.look_at_request().await;
        browser.press(&page, button).await.expect_page("id=\"approve-done\"");
    }
}

impl Browser<'_> {
    /// The addresses of the requests that wait on the account page.
    pub(crate) async fn requests(&mut self) -> Vec<String> {
        let page = self.open("/account").await.expect_html(200);
        let links = page.text.split("href=\"/approve?request=").skip(1);
        links
            .map(|rest| format!("/approve?request={}", rest.split('"').next().unwrap()))
            .collect()
    }

    /// The page on which the person decides about the latest request.
    pub(crate) async fn look_at_request(&mut self) -> Page {
        let requests = self.requests().await;
        let latest = requests.first().unwrap();
        self.open(latest).await.expect_page("id=\"approve-allow\"")
    }
}
