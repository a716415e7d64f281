//! A browser: a cookie jar, redirects, forms. No scripts, as the pages must do without.

use std::collections::BTreeMap;

use http::Method;

use super::{Ask, Code, Fields, Reply, TestApp, TestUser, reply::Answer, world::is_elsewhere};

/// One browser of one person.
#[derive(Clone)]
pub(crate) struct Browser<'a> {
    app: &'a TestApp,
    pub(crate) cookies: BTreeMap<String, String>,
    headers: Vec<(&'static str, String)>,
}

/// A page with its forms.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) text: String,
}

/// A form as it stands on a page.
#[derive(Debug, Clone)]
pub(crate) struct PageForm {
    pub(crate) action: String,
    pub(crate) fields: Fields,
}

impl<'a> Browser<'a> {
    pub(super) fn new(app: &'a TestApp) -> Self {
        Self {
            app,
            cookies: BTreeMap::new(),
            headers: vec![("accept", "text/html".to_owned())],
        }
    }

    /// Sends a header with every request.
    pub(crate) fn sending(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// From now on to another node.
    pub(crate) fn visit(&mut self, node: &'a TestApp) {
        self.app = node;
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&mut self, path: &str, form: &Fields) -> Reply {
        self.send(Method::POST, path, Some(form)).await
    }

    async fn send(&mut self, method: Method, path: &str, form: Option<&Fields>) -> Reply {
        // Locations of ours carry the issuer's path already.
        let local = path.strip_prefix(&self.app.issuer).unwrap_or(path);
        let local = match self.app.base.as_str() {
            "" => local,
            base => local.strip_prefix(base).unwrap_or(local),
        };
        let mut call = self.app.call(method, local);
        for (name, value) in &self.headers {
            call = call.header(name, value);
        }
        if !self.cookies.is_empty() {
            let cookies: Vec<String> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            call = call.header("cookie", &cookies.join("; "));
        }
        if let Some(form) = form {
            call = call.form(form);
        }
        let reply = call.send().await;
        for cookie in reply.cookies() {
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').unwrap();
            if value.is_empty() || attributes.to_ascii_lowercase().contains("max-age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        reply
    }

    /// Follows redirects as long as they stay with the provider.
    pub(crate) async fn follow(&mut self, mut reply: Reply) -> Reply {
        for _ in 0..10 {
            match reply.header("location") {
                Some(location) if !is_elsewhere(location, &self.app.issuer) => {
                    let location = location.to_owned();
                    reply = self.get(&location).await;
                }
                _ => return reply,
            }
        }
        panic!("redirected in a circle: {reply:?}");
    }

    pub(crate) async fn open(&mut self, path: &str) -> Reply {
        let reply = self.get(path).await;
        self.follow(reply).await
    }

    /// Goes to the authorization endpoint and as far as redirects lead.
    pub(crate) async fn authorize(&mut self, ask: &Ask) -> Reply {
        self.open(&ask.path()).await
    }

    /// Presses a button of a page, and follows.
    pub(crate) async fn press(&mut self, page: &Page, button: &str) -> Reply {
        self.press_with(page, button, |fields| fields).await
    }

    pub(crate) async fn press_with(&mut self, page: &Page, button: &str, fill: impl FnOnce(Fields) -> Fields) -> Reply {
        let form = page.form(button);
        let reply = self.post(&form.action, &fill(form.fields)).await;
        self.follow(reply).await
    }

    /// Types credentials into the sign-in page.
    pub(crate) async fn sign_in(&mut self, page: &Reply, user: TestUser) -> Reply {
        self.sign_in_as(page, user.name, user.password).await
    }

    pub(crate) async fn sign_in_as(&mut self, page: &Reply, name: &str, password: &str) -> Reply {
        let page = Page::new(page);
        let fill = |fields: Fields| fields.with("username", name).with("password", password);
        self.press_with(&page, "login-submit", fill).await
    }

    /// Signs in and allows, as far as asked, until the application is reached.
    pub(crate) async fn complete(&mut self, mut reply: Reply, user: TestUser) -> Reply {
        for _ in 0..3 {
            if reply.status != 200 {
                return reply;
            }
            let page = reply.clone().expect_html(200);
            reply = match page.has("id=\"login-submit\"") {
                true => self.sign_in(&reply, user).await,
                false if page.has("id=\"consent-allow\"") => self.press(&page, "consent-allow").await,
                false => return reply,
            };
        }
        reply
    }

    pub(crate) async fn answer(&mut self, user: TestUser, ask: &Ask) -> Answer {
        let reply = self.authorize(ask).await;
        self.complete(reply, user).await.expect_answer()
    }

    pub(crate) async fn consented_code(&mut self, user: TestUser, ask: &Ask) -> Code {
        let answer = self.answer(user, ask).await;
        Code {
            value: answer
                .params
                .get("code")
                .unwrap_or_else(|| panic!("{answer:?}"))
                .clone(),
            client: ask.client,
            redirect_uri: ask.fields.get("redirect_uri").unwrap_or_default().to_owned(),
            has_challenge: ask.fields.get("code_challenge").is_some(),
        }
    }

    /// The value of the cookie that names this browser.
    pub(crate) fn session_cookie(&self) -> String {
        let found = self.cookies.iter().find(|(name, _)| name.ends_with("hexgate_session"));
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }
}

impl Page {
    pub(super) fn new(reply: &Reply) -> Self {
        Self { text: reply.text() }
    }

    pub(crate) fn has(&self, mark: &str) -> bool {
        self.text.contains(mark)
    }

    #[track_caller]
    pub(crate) fn between(&self, start: &str, end: &str) -> String {
        let rest = self
            .text
            .split(start)
            .nth(1)
            .unwrap_or_else(|| panic!("no {start:?} in {}", self.text));
        rest.split(end).next().unwrap().to_owned()
    }

    pub(crate) fn forms(&self) -> Vec<PageForm> {
        self.text
            .split("<form")
            .skip(1)
            .map(|text| PageForm::read(text.split("</form>").next().unwrap()))
            .collect()
    }

    /// The form with a button whose id or value is `button`, as that button sends it.
    #[track_caller]
    pub(crate) fn form(&self, button: &str) -> PageForm {
        for text in self
            .text
            .split("<form")
            .skip(1)
            .map(|text| text.split("</form>").next().unwrap())
        {
            for tag in text.split("<button").skip(1).map(|tag| tag.split('>').next().unwrap()) {
                let pressed = attribute(tag, "id").as_deref() == Some(button)
                    || attribute(tag, "value").as_deref() == Some(button);
                if pressed {
                    let mut form = PageForm::read(text);
                    assert_eq!(attribute(tag, "type").as_deref(), Some("submit"));
                    if let (Some(name), Some(value)) = (attribute(tag, "name"), attribute(tag, "value")) {
                        form.fields = form.fields.and(&name, &value);
                    }
                    return form;
                }
            }
        }
        panic!("no button {button:?} in {}", self.text)
    }
}

impl PageForm {
    fn read(text: &str) -> Self {
        let tag = text.split('>').next().unwrap();
        assert_eq!(attribute(tag, "method").as_deref(), Some("post"));
        let mut fields = Fields::default();
        for input in text
            .split("<input")
            .skip(1)
            .map(|input| input.split('>').next().unwrap())
        {
            let (name, value) = (
                attribute(input, "name").unwrap(),
                attribute(input, "value").unwrap_or_default(),
            );
            fields = fields.and(&name, &value);
        }
        Self {
            action: attribute(tag, "action").unwrap(),
            fields,
        }
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let start = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    tag.get(start..)?.split('"').next().map(unescape)
}

pub(super) fn unescape(text: &str) -> String {
    [
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#38;", "&"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
