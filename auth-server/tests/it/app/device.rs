//! Devices and the people who connect them.

use serde_json::Value;

use super::{Browser, Page, Reply, TestApp, TestClient, TestUser, fields};

/// What a device gets.
#[derive(Debug, Clone)]
pub(crate) struct DeviceCodes {
    pub(crate) device_code: String,
    pub(crate) user_code: String,
}

impl DeviceCodes {
    pub(crate) fn read(given: &Value) -> Self {
        let text = |name: &str| given[name].as_str().unwrap().to_owned();
        Self {
            device_code: text("device_code"),
            user_code: text("user_code"),
        }
    }
}

impl TestApp {
    pub(crate) async fn ask_for_device(&self, client: TestClient, scope: &str) -> Reply {
        self.as_client(client, "/oauth2/device_authorization", &fields([("scope", scope)]))
            .await
    }

    pub(crate) async fn device(&self, client: TestClient) -> DeviceCodes {
        let reply = self.ask_for_device(client, client.scope).await;
        DeviceCodes::read(&reply.expect_json(200))
    }

    pub(crate) async fn poll(&self, client: TestClient, codes: &DeviceCodes) -> Reply {
        let form = fields([
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", &codes.device_code),
        ]);
        self.token(client, &form).await
    }

    /// Somebody types the code, signs in and allows.
    pub(crate) async fn allow_device(&self, user: TestUser, codes: &DeviceCodes) {
        let mut browser = self.browser();
        let page = browser.bring(user, codes).await;
        browser
            .press(&page, "device-allow")
            .await
            .expect_page("id=\"device-done\"");
    }
}

impl Browser<'_> {
    /// Types a code into the device page.
    pub(crate) async fn type_code(&mut self, code: &str) -> Reply {
        let page = self.open("/device").await.expect_html(200);
        self.press_with(&page, "device-submit", |fields| fields.with("user_code", code))
            .await
    }

    /// Types a code and signs in, as far as asked: the page on which the person decides.
    pub(crate) async fn bring(&mut self, user: TestUser, codes: &DeviceCodes) -> Page {
        let mut reply = self.type_code(&codes.user_code).await;
        if reply.text().contains("id=\"login-submit\"") {
            reply = self.sign_in(&reply, user).await;
        }
        reply.expect_page("id=\"device-allow\"")
    }
}
