"""A browser without scripts: follows the provider's pages by the ids of their buttons."""
import html.parser
import urllib.parse

import httpx


class _Page(html.parser.HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.forms: list[dict] = []
        self._form = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = {"action": attributes.get("action", ""), "fields": {}, "ids": {}, "buttons": {}}
            self.forms.append(self._form)
        elif self._form is not None and tag == "input" and "name" in attributes:
            self._form["fields"][attributes["name"]] = attributes.get("value", "")
            self._form["ids"][attributes.get("id", "")] = attributes["name"]
        elif self._form is not None and tag == "button":
            self._form["buttons"][attributes.get("id", "")] = (attributes.get("name"), attributes.get("value", ""))

    def handle_endtag(self, tag):
        if tag == "form":
            self._form = None


def authorize(issuer: str, url: str, username: str, password: str) -> str:
    """Signs in, consents when asked, and answers the URL to which the browser was sent back."""
    with httpx.Client(trust_env=False) as browser:
        response = browser.get(url)
        for _ in range(12):
            while response.is_redirect:
                target = urllib.parse.urljoin(str(response.url), response.headers["location"])
                if not target.startswith(issuer + "/"):
                    return target
                response = browser.get(target)
            page = _Page(response.text)
            for button, values in (("login-submit", {"username": username, "password": password}), ("consent-allow", {})):
                form = next((form for form in page.forms if button in form["buttons"]), None)
                if form:
                    data = dict(form["fields"])
                    for identifier, value in values.items():
                        data[form["ids"][identifier]] = value
                    name, value = form["buttons"][button]
                    if name:
                        data[name] = value
                    response = browser.post(urllib.parse.urljoin(str(response.url), form["action"]), data=data)
                    break
            else:
                raise AssertionError(f"unexpected page at {response.url}: {response.status_code} {response.text}")
        raise AssertionError("asked again and again")
