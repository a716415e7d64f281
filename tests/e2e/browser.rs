//! A person's browser without scripts: cookies, redirects inside the provider, forms by the ids of their controls.

use std::{collections::BTreeMap, sync::Mutex};

use reqwest::{
    Method,
    header::{ACCEPT_LANGUAGE, COOKIE, LOCATION, SET_COOKIE},
};
use url::Url;

use crate::{
    oauth::{Http, Reply},
    world::{PASSWORD, World},
};

/// One browser: its cookies are nobody else's.
pub(crate) struct Browser {
    http: Http,
    issuer: Url,
    jar: Mutex<BTreeMap<String, String>>,
    set_cookies: Mutex<Vec<String>>,
    pub(crate) language: Option<&'static str>,
    /// Sent with every request, such as a spoofed `X-Forwarded-Host`.
    pub(crate) extra_headers: Vec<(&'static str, &'static str)>,
}

/// Where a navigation ended.
#[derive(Debug)]
pub(crate) enum Landing {
    /// A page of the provider's.
    Page(Page),
    /// A redirect to somewhere else, not followed.
    Away(Url),
}

/// An HTML page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) reply: Reply,
    elements: Vec<Element>,
}

#[derive(Debug, Clone)]
pub(crate) struct Element {
    pub(crate) tag: String,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Index of the enclosing `form` element.
    form: Option<usize>,
    /// Byte offset just behind the tag.
    end: usize,
}

/// A form about to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) action: Url,
    pub(crate) method: Method,
    pub(crate) fields: Vec<(String, String)>,
}

impl Browser {
    pub(crate) fn new(world: &World) -> Self {
        Self {
            http: world.http(),
            issuer: world.issuer.parse().unwrap(),
            jar: Mutex::default(),
            set_cookies: Mutex::default(),
            language: None,
            extra_headers: Vec::new(),
        }
    }

    pub(crate) async fn open(&self, url: &str) -> Landing {
        self.navigate(Method::GET, self.issuer.join(url).unwrap(), &[]).await
    }

    pub(crate) async fn submit(&self, form: &Form) -> Landing {
        self.navigate(form.method.clone(), form.action.clone(), &form.fields)
            .await
    }

    /// Sends one request with this browser's cookies and follows nothing.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: Url,
        fields: &[(String, String)],
        headers: &[(&str, &str)],
    ) -> Reply {
        let mut request = self.http.request(method.clone(), url.as_str());
        let cookies = self.cookie_header();
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies);
        }
        if let Some(language) = self.language {
            request = request.header(ACCEPT_LANGUAGE, language);
        }
        for (name, value) in self.extra_headers.iter().chain(headers) {
            request = request.header(*name, *value);
        }
        if method == Method::POST {
            request = request.form(fields);
        } else if !fields.is_empty() {
            request = request.query(fields);
        }
        let reply = Reply::read(request.send().await.unwrap()).await;
        for cookie in reply.headers.get_all(SET_COOKIE) {
            self.keep(cookie.to_str().unwrap());
        }
        reply
    }

    async fn navigate(&self, mut method: Method, mut url: Url, fields: &[(String, String)]) -> Landing {
        let mut fields = fields.to_vec();
        for _ in 0..10 {
            if url.origin() != self.issuer.origin() {
                return Landing::Away(url);
            }
            let reply = self.send(method.clone(), url.clone(), &fields, &[]).await;
            if !matches!(reply.status, 301..=308) {
                return Landing::Page(Page::parse(url, reply));
            }
            // RFC 9700 §4.12: a 307 would send the credentials of the form on.
            assert!(matches!(reply.status, 302 | 303), "redirect with {}", reply.status);
            url = url.join(reply.headers[LOCATION].to_str().unwrap()).unwrap();
            method = Method::GET;
            fields.clear();
        }
        panic!("redirects without an end, last to {url}");
    }

    fn keep(&self, cookie: &str) {
        self.set_cookies.lock().unwrap().push(cookie.to_owned());
        let mut parts = cookie.split(';').map(str::trim);
        let (name, value) = parts.next().unwrap().split_once('=').unwrap();
        let ended = parts.any(|part| part.eq_ignore_ascii_case("max-age=0"));
        let mut jar = self.jar.lock().unwrap();
        if ended || value.is_empty() {
            jar.remove(name);
        } else {
            jar.insert(name.to_owned(), value.to_owned());
        }
    }

    pub(crate) fn cookies(&self) -> BTreeMap<String, String> {
        self.jar.lock().unwrap().clone()
    }

    pub(crate) fn set_cookies(&self) -> Vec<String> {
        self.set_cookies.lock().unwrap().clone()
    }

    pub(crate) fn plant_cookies(&self, cookies: BTreeMap<String, String>) {
        self.jar.lock().unwrap().extend(cookies);
    }

    pub(crate) fn cookie_header(&self) -> String {
        let jar = self.jar.lock().unwrap();
        jar.iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// Opens `url` and answers whatever is asked (sign-in, consent) until the provider sends the browser back.
    pub(crate) async fn go_through(&self, url: &str, username: &str) -> Url {
        let mut landing = self.open(url).await;
        for _ in 0..5 {
            landing = match landing {
                Landing::Away(url) => return url,
                Landing::Page(page) if page.has("login-submit") => {
                    self.submit(&page.login_form(username, PASSWORD)).await
                }
                Landing::Page(page) if page.has("consent-allow") => self.submit(&page.click("consent-allow")).await,
                Landing::Page(page) => panic!("unexpected page at {}: {}", page.url, page.reply.body),
            };
        }
        panic!("asked again and again");
    }

    /// Signs in at the account page.
    pub(crate) async fn sign_in(&self, username: &str) -> Page {
        let page = self.open("/account").await.page();
        let page = self.submit(&page.login_form(username, PASSWORD)).await.page();
        assert!(!page.has("login-submit"), "not signed in: {}", page.reply.body);
        page
    }

    /// Whether this browser has a live session: the account page does not ask for a password.
    pub(crate) async fn is_signed_in(&self) -> bool {
        !self.open("/account").await.page().has("login-submit")
    }
}

impl Landing {
    #[track_caller]
    pub(crate) fn page(self) -> Page {
        match self {
            Self::Page(page) => page,
            Self::Away(url) => panic!("a page was expected, not a redirect to {url}"),
        }
    }

    #[track_caller]
    pub(crate) fn away(self) -> Url {
        match self {
            Self::Away(url) => url,
            Self::Page(page) => panic!("a redirect was expected, not {} {}", page.reply.status, page.reply.body),
        }
    }
}

impl Page {
    fn parse(url: Url, reply: Reply) -> Self {
        let elements = parse_elements(&reply.body);
        let mut seen = std::collections::BTreeSet::new();
        for id in elements.iter().filter_map(|element| element.attributes.get("id")) {
            assert!(seen.insert(id.clone()), "id {id} twice in {url}");
        }
        Self { url, reply, elements }
    }

    pub(crate) fn elements(&self) -> &[Element] {
        &self.elements
    }

    pub(crate) fn find(&self, id: &str) -> Option<&Element> {
        self.elements
            .iter()
            .find(|element| element.attributes.get("id").is_some_and(|found| found == id))
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.find(id).is_some()
    }

    /// The text inside the element, tags taken out.
    pub(crate) fn text_of(&self, id: &str) -> String {
        let element = self
            .find(id)
            .unwrap_or_else(|| panic!("no #{id} in {}", self.reply.body));
        let rest = &self.reply.body[element.end..];
        let inside = &rest[..rest.find(&format!("</{}", element.tag)).unwrap_or(rest.len())];
        let mut text = String::new();
        let mut in_tag = false;
        for character in inside.chars() {
            match character {
                '<' => in_tag = true,
                '>' => in_tag = false,
                _ if !in_tag => text.push(character),
                _ => {}
            }
        }
        unescape(text.split_whitespace().collect::<Vec<_>>().join(" ").as_str())
    }

    /// The form that the button belongs to, as pressing the button sends it.
    #[track_caller]
    pub(crate) fn click(&self, button: &str) -> Form {
        let Some(button) = self.find(button) else {
            panic!("no #{button} at {}: {}", self.url, self.reply.body)
        };
        self.press(button)
    }

    /// The same by the button's value, for buttons of which there may be many; the last one wins.
    #[track_caller]
    pub(crate) fn click_value(&self, value: &str) -> Form {
        let Some(button) = self.buttons(value).last() else {
            panic!("no button {value} in {}", self.reply.body)
        };
        self.press(button)
    }

    /// Buttons with that value.
    pub(crate) fn buttons(&self, value: &str) -> impl Iterator<Item = &Element> {
        self.elements
            .iter()
            .filter(move |found| found.tag == "button" && found.attribute("value") == value)
    }

    pub(crate) fn press(&self, button: &Element) -> Form {
        assert_eq!(button.attribute("type"), "submit");
        let at = button.form.expect("the button is in a form");
        let form = &self.elements[at];
        let mut fields: Vec<(String, String)> = self
            .elements
            .iter()
            .filter(|found| found.tag == "input" && found.form == Some(at) && found.attributes.contains_key("name"))
            .filter(|found| {
                !matches!(found.attribute("type"), "checkbox" | "radio") || found.attributes.contains_key("checked")
            })
            .map(|found| (found.attribute("name").to_owned(), found.attribute("value").to_owned()))
            .collect();
        if let Some(name) = button.attributes.get("name") {
            fields.push((name.clone(), button.attribute("value").to_owned()));
        }
        let action = button
            .attributes
            .get("formaction")
            .map_or_else(|| form.attribute("action"), String::as_str);
        let method = if form.attribute("method").eq_ignore_ascii_case("post") {
            Method::POST
        } else {
            Method::GET
        };
        Form {
            action: self.url.join(action).unwrap(),
            method,
            fields,
        }
    }

    pub(crate) fn login_form(&self, username: &str, password: &str) -> Form {
        let mut form = self.click("login-submit");
        for (id, value) in [("username", username), ("password", password)] {
            let input = self.find(id).unwrap();
            form.set(input.attribute("name"), value);
        }
        form
    }
}

impl Element {
    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

impl Form {
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.fields.retain(|(found, _)| found != name);
        self.fields.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.fields.retain(|(found, _)| found != name);
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Start tags with their attributes. Enough for well-formed pages; scripts and comments are skipped.
fn parse_elements(html: &str) -> Vec<Element> {
    let mut elements: Vec<Element> = Vec::new();
    let (mut at, mut form) = (0, None);
    while let Some(found) = html[at..].find('<') {
        at += found;
        let rest = &html[at..];
        if rest.starts_with("<!--") {
            at += rest.find("-->").unwrap_or(rest.len());
            continue;
        }
        if rest.starts_with("</form") {
            form = None;
        }
        let name: String = rest[1..].chars().take_while(char::is_ascii_alphanumeric).collect();
        if name.is_empty() {
            at += 1;
            continue;
        }
        let (attributes, length) = parse_attributes(&rest[1 + name.len()..]);
        at += 1 + name.len() + length;
        if name == "form" {
            form = Some(elements.len());
        }
        elements.push(Element {
            tag: name.clone(),
            attributes,
            form,
            end: at,
        });
        if matches!(name.as_str(), "script" | "style") {
            at += html[at..].find(&format!("</{name}")).unwrap_or(0);
        }
    }
    elements
}

/// The attributes up to `>`, and how many bytes they and it take.
fn parse_attributes(text: &str) -> (BTreeMap<String, String>, usize) {
    let mut attributes = BTreeMap::new();
    let mut at = 0;
    loop {
        at += text[at..].len()
            - text[at..]
                .trim_start_matches(|c: char| c.is_whitespace() || c == '/')
                .len();
        let rest = &text[at..];
        if rest.is_empty() {
            return (attributes, at);
        }
        if rest.starts_with('>') {
            return (attributes, at + 1);
        }
        let name = &rest[..rest
            .find(|c: char| c.is_whitespace() || matches!(c, '=' | '>' | '/'))
            .unwrap_or(rest.len())];
        at += name.len().max(1);
        let mut value = String::new();
        if let Some(rest) = text[at..].strip_prefix('=') {
            let (raw, length) = if let Some(quote @ ('"' | '\'')) = rest.chars().next() {
                let inside = &rest[1..];
                let end = inside.find(quote).unwrap_or(inside.len());
                (&inside[..end], end + 2)
            } else {
                let end = rest.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(rest.len());
                (&rest[..end], end)
            };
            value = unescape(raw);
            at += 1 + length;
        }
        attributes.insert(name.to_owned(), value);
    }
}

/// Character references, as templates write them.
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let reference = after.split_once(';').and_then(|(name, tail)| {
            let character = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ => {
                    let number = name.strip_prefix('#')?;
                    let code = match number.strip_prefix(['x', 'X']) {
                        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                        None => number.parse().ok()?,
                    };
                    char::from_u32(code)?
                }
            };
            Some((character, tail))
        });
        if let Some((character, tail)) = reference {
            plain.push(character);
            rest = tail;
        } else {
            plain.push('&');
            rest = after;
        }
    }
    plain.push_str(rest);
    plain
}

#[test]
fn a_form_is_read_as_a_browser_reads_it() {
    let html = "<!-- <form> --><form method=post action='/go?a=1&amp;b=2'><input type=\"hidden\" name=\"csrf\" value=\"a&#34;b\">\
                <input id=username name=username required><input type=checkbox name=no><button type=\"submit\" id=\"go\" name=\"action\" value=\"yes\">Go</button>\
                </form><button type=submit id=other>x</button><p id=text>one <b>two</b>\n &lt;three&gt;</p><script>'<form>'</script>";
    let reply = Reply {
        status: 200,
        headers: reqwest::header::HeaderMap::new(),
        body: html.to_owned(),
    };
    let page = Page::parse("http://127.0.0.1:1/x/y".parse().unwrap(), reply);
    let form = page.click("go");
    assert_eq!(
        (form.method.as_str(), form.action.as_str()),
        ("POST", "http://127.0.0.1:1/go?a=1&b=2")
    );
    let fields: Vec<_> = form
        .fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(fields, [("csrf", "a\"b"), ("username", ""), ("action", "yes")]);
    assert_eq!(page.find("other").unwrap().form, None);
    assert_eq!(page.text_of("text"), "one two <three>");
}
