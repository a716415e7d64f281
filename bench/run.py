#!/usr/bin/env python3
"""Measures the two services against bare baselines, interleaved, and prints a table of aims and ratios.

A ratio is the median of the rounds' own ratios, so that a disturbed round counts once. `by CPU` is the same ratio of the server's own CPU
time per request: on a busy machine, or where `cores` is well below 1 because the load generator was the limit, it is the one to read.
"""
import argparse
import html.parser
import http.client
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECS = os.environ.get("SECS", "3")
SECRET = secrets.token_urlsafe(24)
PASSWORD = secrets.token_urlsafe(12)
SERVER_CORE, LOAD_CORE = "0", "1"

# Limits and budget are wide: what is measured is that they are kept, not that they refuse.
POLICED = """
[[interface]]
name = "policed"
capability = "chat"
routes = [{ vendor = "mock", model = "mock" }]
fields = [
  { name = "/temperature", value = 0.2, allow_override = true },
  { name = "/user", value = "hexgate" },
  { name = "/logit_bias", forbid = true },
]
limits = { requests_per_second = 1000000, tokens_per_minute = 500000000, concurrency = 10000 }

[[price]]
name = "policed"
interface = "policed"
input_per_million = "0.15"
output_per_million = "0.60"
currency = "USD"

[[quota]]
name = "machine"
client_id = "machine"
interface = "policed"
amount = "1000000"
currency = "USD"
period = "month"
"""
# Streams of twenty pieces: all at once, and one after the other.
STREAMS = {"burst": "mock-d5-n20", "paced": "mock-c5-n20"}
POLICED += "".join(f"""
[[interface]]
name = "policed-{kind}"
capability = "chat"
routes = [{{ vendor = "mock", model = "{model}" }}]
fields = [{{ name = "/user", value = "hexgate" }}]
limits = {{ requests_per_second = 1000000, tokens_per_minute = 500000000, concurrency = 10000 }}
""" for kind, model in STREAMS.items())
AUTH_DOCUMENT = f"""
[[client]]
client_id = "machine"
client_secret = "{SECRET}"
client_name = "Bench machine"
grant_types = ["client_credentials"]
response_types = []
scope = "ai:chat"
access_token_ttl = 3600

[[client]]
client_id = "machine-rs"
client_secret = "{SECRET}"
client_name = "Bench machine, RS256"
grant_types = ["client_credentials"]
response_types = []
scope = "ai:chat"
access_token_signing_alg = "RS256"

[[client]]
client_id = "reader"
client_secret = "{SECRET}"
client_name = "Bench resource server"
grant_types = []
response_types = []
permissions = ["token:introspect"]

[[client]]
client_id = "app"
client_secret = "{SECRET}"
client_name = "Bench app"
redirect_uris = ["http://127.0.0.1:8099/callback"]
grant_types = ["authorization_code"]
response_types = ["code"]
scope = "openid profile"
id_token_signed_response_alg = "ES256"
auto_approve = true

[[client]]
client_id = "bound-app"
client_secret = "{SECRET}"
client_name = "Bench app with pushed requests and bound tokens"
redirect_uris = ["http://127.0.0.1:8099/callback"]
grant_types = ["authorization_code"]
response_types = ["code"]
scope = "openid profile"
id_token_signed_response_alg = "ES256"
auto_approve = true
require_pushed_authorization_requests = true
dpop_bound_access_tokens = true

[[client]]
client_id = "exchanger"
client_secret = "{SECRET}"
client_name = "Bench service that exchanges tokens"
grant_types = ["urn:ietf:params:oauth:grant-type:token-exchange"]
response_types = []
scope = "ai:chat"

[[client]]
client_id = "console"
client_name = "Bench console"
grant_types = ["password"]
response_types = []
scope = "openid admin ai:chat"
access_token_ttl = 3600
token_endpoint_auth_method = "none"
first_party = true
auto_approve = true

[[user]]
username = "alice"
password = "{PASSWORD}"
"""


class Form(html.parser.HTMLParser):
    """Hidden inputs of the form that holds the button `login-submit`."""

    def __init__(self, text):
        super().__init__()
        self.action, self.fields, self.current, self.pending = None, {}, None, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if tag == "form":
            self.pending, self.current = {}, a.get("action")
        elif tag == "input" and self.pending is not None and a.get("name"):
            self.pending[a["name"]] = a.get("value") or ""
        elif tag == "button" and a.get("id") == "login-submit":
            self.action, self.fields = self.current, self.pending
            if a.get("name"):
                self.fields[a["name"]] = a.get("value") or ""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Bench:
    def __init__(self, services, kit, wanted):
        # Only what is measured is started.
        self.with_gateway = bool({"start", "gateway", "latency"} & set(wanted))
        self.services, self.kit = pathlib.Path(services).resolve(), pathlib.Path(kit).resolve()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hexgate-bench-"))
        self.children, self.rows, self.notes = [], [], []
        names = ["auth", "auth_status", "gateway", "gateway_status", "hello", "proxy", "upstream"]
        self.port = {name: free_port() for name in names}
        self.pid = {}

    # -- processes ---------------------------------------------------------------------------------------------------

    def spawn(self, name, command, core, env=None):
        log = open(self.dir / f"{name}.log", "ab")
        child = subprocess.Popen(["taskset", "-c", core, *map(str, command)], stdout=log, stderr=log, cwd=self.dir, env={**os.environ, **(env or {})})
        self.children.append(child)
        self.pid[name] = child.pid
        return child

    def wait_port(self, port, child, limit=20):
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if child.poll() is not None:
                sys.exit(f"a server ended by itself; logs are in {self.dir}")
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.005)
        sys.exit(f"nothing listens on {port}")

    def stop(self):
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for child in self.children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    def cli(self, name, *arguments):
        subprocess.run([self.services / name, *arguments], cwd=self.dir, check=True, stdout=subprocess.DEVNULL)

    def configure(self):
        p = self.port
        (self.dir / "auth.toml").write_text(
            f'issuer = "http://127.0.0.1:{p["auth"]}"\nlisten = "127.0.0.1:{p["auth"]}"\nmanagement_listen = "127.0.0.1:{p["auth_status"]}"\n'
            f'tokens.gateway_audience = "http://127.0.0.1:{p["gateway"]}"\n[database]\nurl = "sqlite://{self.dir}/auth.db"\n[keys]\ndir = "{self.dir}/keys"\n'
        )
        (self.dir / "gateway.toml").write_text(
            f'listen = "127.0.0.1:{p["gateway"]}"\nmanagement_listen = "127.0.0.1:{p["gateway_status"]}"\n'
            f'[database]\nurl = "sqlite://{self.dir}/gateway.db"\n[keys]\ndir = "{self.dir}/keys"\n'
            f'[auth]\nissuer = "http://127.0.0.1:{p["auth"]}"\naudience = "http://127.0.0.1:{p["gateway"]}"\n'
        )
        (self.dir / "documents.toml").write_text(AUTH_DOCUMENT)
        (self.dir / "interfaces.toml").write_text(
            f'[[vendor]]\nname = "mock"\nstrategy = "openai"\nbase_url = "http://127.0.0.1:{p["upstream"]}/v1"\nsecret_key = "bench"\n'
            '[[interface]]\nname = "bench"\ncapability = "chat"\nroutes = [{ vendor = "mock", model = "mock" }]\n'
            + POLICED
        )
        self.cli("auth-server", "migrate", "--config", "auth.toml")
        self.cli("auth-server", "apply", "documents.toml", "--config", "auth.toml")
        if not self.with_gateway:
            return
        self.cli("resource-gateway", "migrate", "--config", "gateway.toml")
        self.cli("resource-gateway", "apply", "interfaces.toml", "--config", "gateway.toml")

    def serve(self, name, config):
        return self.spawn(config, [self.services / name, "serve", "--config", f"{config}.toml"], SERVER_CORE)

    def start(self):
        self.wait_port(self.port["auth"], self.serve("auth-server", "auth"))
        at = lambda name: f"127.0.0.1:{self.port[name]}"
        self.wait_port(self.port["upstream"], self.spawn("upstream", [self.kit / "mock-upstream", at("upstream")], LOAD_CORE))
        self.wait_port(self.port["hello"], self.spawn("hello", [self.kit / "hello", at("hello")], SERVER_CORE))
        self.wait_port(self.port["proxy"], self.spawn("proxy", [self.kit / "proxy", at("proxy"), at("upstream")], SERVER_CORE))
        if not self.with_gateway:
            return
        self.serve("resource-gateway", "gateway")
        deadline = time.monotonic() + 20
        while self.get(self.port["gateway_status"], "/readyz")[0] != 200:
            if time.monotonic() > deadline:
                sys.exit(f"the gateway is not ready; logs are in {self.dir}")
            time.sleep(0.02)

    # -- HTTP by hand ------------------------------------------------------------------------------------------------

    def call(self, port, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()

    def get(self, port, path):
        try:
            status, _, body = self.call(port, "GET", path)
            return status, body
        except OSError:
            return 0, ""

    def basic(self, client):
        import base64
        return "Basic " + base64.b64encode(f"{client}:{SECRET}".encode()).decode()

    def ask_token(self, fields, headers):
        headers = {"content-type": "application/x-www-form-urlencoded", **headers}
        status, _, body = self.call(self.port["auth"], "POST", "/oauth2/token", urllib.parse.urlencode(fields), headers)
        assert status == 200, body
        return json.loads(body)["access_token"]

    def token(self):
        return self.ask_token({"grant_type": "client_credentials", "scope": "ai:chat"}, {"authorization": self.basic("machine")})

    def persons_token(self):
        fields = {"grant_type": "password", "client_id": "console", "username": "alice", "password": PASSWORD, "scope": "openid ai:chat"}
        return self.ask_token(fields, {})

    def signed_in_cookie(self):
        """Signs alice in at the account page, without a browser; answers the Cookie header."""
        jar, port, path, data = {}, self.port["auth"], "/account", None
        for _ in range(10):
            headers = {"cookie": "; ".join(f"{k}={v}" for k, v in jar.items())}
            if data:
                headers["content-type"] = "application/x-www-form-urlencoded"
            status, answer, text = self.call(port, "POST" if data else "GET", path, data, headers)
            for cookie in answer.get_all("set-cookie") or []:
                name, value = cookie.split(";")[0].split("=", 1)
                jar[name] = value
            data = None
            if status in (302, 303):
                path = urllib.parse.urljoin(f"http://127.0.0.1:{port}{path}", answer["location"]).split(f":{port}", 1)[1]
                continue
            form = Form(text)
            if not form.action:
                return "; ".join(f"{k}={v}" for k, v in jar.items())
            data = urllib.parse.urlencode({**form.fields, "username": "alice", "password": PASSWORD})
            path = urllib.parse.urlsplit(form.action).path
        sys.exit("could not sign in")

    # -- load --------------------------------------------------------------------------------------------------------

    def lg(self, mode, url, *arguments, secs=None, wait=True):
        command = ["taskset", "-c", LOAD_CORE, str(self.kit / "lg"), mode, "--url", url, "-d", secs or SECS, "-w", "0.5", *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if not wait:
            return process
        return self.result(process, url)

    def result(self, process, url):
        line = process.communicate()[0]
        try:
            result = json.loads(line)
        except ValueError:
            sys.exit(f"the load generator failed at {url}: {line}")
        bad = result["wrong"] + result["errors"]
        if bad * 100 > result["done"]:
            sys.exit(f"{bad} bad answers of {result['done']} at {url}: {result['sample']}")
        return result

    def crypto(self, name):
        """One operation on the servers' core, as a load result: on a busy machine it waits for its core as a server does."""
        text = subprocess.run(["taskset", "-c", SERVER_CORE, self.kit / "crypto", "0.5", name], check=True, capture_output=True, text=True).stdout
        words = text.split("/s")[1].split()
        return {"rps": 1e6 / float(words[4]), "cpu_us_per_req": float(words[0])}

    def rounds(self, contenders):
        """Runs {name: callable} interleaved, forwards and backwards in turn; answers {name: [result per round]}."""
        results = {name: [] for name in contenders}
        for number in range(ROUNDS):
            order = list(contenders.items())
            for name, run in order if number % 2 == 0 else reversed(order):
                time.sleep(0.2)
                results[name].append(run())
            print(f"  round {number + 1}/{ROUNDS}", file=sys.stderr)
        return results

    # -- reporting ---------------------------------------------------------------------------------------------------

    def row(self, what, aim, measured, met, detail, cpu=""):
        self.rows.append((what, aim, measured, cpu, "" if met is None else "yes" if met else "**no**", detail))

    def ratio_row(self, what, aim, results, limits, reference, detail=""):
        """`limits` are (requests a second, CPU microseconds a request) of the reference, a round each. Without an aim the ratio is told alone."""
        ratios = [got["rps"] / rps for got, (rps, _) in zip(results, limits)]
        by_cpu = statistics.median(cpu / max(got["cpu_us_per_req"], 0.1) for got, (_, cpu) in zip(results, limits))
        ratio = statistics.median(ratios)
        self.row(
            what, f"of {reference}" if aim is None else f"≥ {aim} of {reference}", f"{ratio:.2f} ({min(ratios):.2f} – {max(ratios):.2f})",
            None if aim is None else ratio >= aim,
            f"{self.rate(results)}{detail}", f"{by_cpu:.2f}",
        )

    @staticmethod
    def composite(bare, answers=1, signatures=None):
        """What bare axum takes for so many answers, and one signature if there is one; a round each."""
        limits = []
        for number, answer in enumerate(bare):
            signature = signatures[number] if signatures else {"rps": float("inf"), "cpu_us_per_req": 0}
            seconds = answers / answer["rps"] + 1 / signature["rps"]
            limits.append((1 / seconds, answers * answer["cpu_us_per_req"] + signature["cpu_us_per_req"]))
        return limits

    @staticmethod
    def rate(results):
        median = lambda key: statistics.median(result.get(key, 0) for result in results)
        return f"{median('rps'):,.0f}/s, {median('cpu_us_per_req'):.0f} µs CPU, p99 {median('p99_us') / 1000:.1f} ms, cores {median('cpu_cores'):.2f}"

    # -- the measurements --------------------------------------------------------------------------------------------

    def hello(self):
        return self.lg("load", f"http://127.0.0.1:{self.port['hello']}/", "--pid", self.pid["hello"])

    def post(self, port, path, body, headers, pid, *more):
        arguments = [item for header in headers for item in ("-H", header)]
        return self.lg("load", f"http://127.0.0.1:{port}{path}", "-X", "POST", "--body", body, *arguments, "--pid", pid, *more)

    FORM = "content-type: application/x-www-form-urlencoded"

    def measure_tokens(self):
        body = "grant_type=client_credentials&scope=ai%3Achat"
        by = lambda client: lambda: self.post(
            self.port["auth"], "/oauth2/token", body, [self.FORM, f"authorization: {self.basic(client)}"], self.pid["auth"]
        )
        reader = [self.FORM, f"authorization: {self.basic('reader')}"]
        token = self.token()
        exchange = urllib.parse.urlencode({
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": self.persons_token(),
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        })
        results = self.rounds({
            "hello": self.hello,
            "ES256 signature": lambda: self.crypto("aws-lc-rs ES256 sign"),
            "RS256 signature": lambda: self.crypto("aws-lc-rs RS256 sign"),
            "ES256": by("machine"),
            "RS256": by("machine-rs"),
            "exchange": lambda: self.post(
                self.port["auth"], "/oauth2/token", exchange, [self.FORM, f"authorization: {self.basic('exchanger')}"], self.pid["auth"], "--must", "issued_token_type",
            ),
            "introspection": lambda: self.post(self.port["auth"], "/oauth2/introspect", f"token={token}", reader, self.pid["auth"], "--must", '"active":true'),
        })
        for name, aim in (("ES256", 0.35), ("RS256", 0.8)):
            signatures = results[f"{name} signature"]
            detail = f"; signature {signatures[0]['cpu_us_per_req']:.0f} µs"
            limits = self.composite(results["hello"], 1, signatures)
            self.ratio_row(f"client credentials, {name}", aim, results[name], limits, "axum + one signature", detail)
        limits = self.composite(results["hello"], 1, results["ES256 signature"])
        self.ratio_row("token exchange, ES256", None, results["exchange"], limits, "axum + one signature")
        self.ratio_row("introspection", 0.25, results["introspection"], self.composite(results["hello"]), "bare axum")
        self.notes.append(f"bare axum: {self.rate(results['hello'])}")

    def measure_pages(self):
        get = lambda path: lambda: self.lg("load", f"http://127.0.0.1:{self.port['auth']}{path}", "--pid", self.pid["auth"])
        results = self.rounds({"hello": self.hello, "discovery": get("/.well-known/openid-configuration"), "JWKS": get("/oauth2/jwks")})
        for name in ("discovery", "JWKS"):
            self.ratio_row(name, 0.7, results[name], self.composite(results["hello"]), "bare axum")

    def measure_code(self):
        cookie = self.signed_in_cookie()
        base = f"http://127.0.0.1:{self.port['auth']}"
        redirect = "http://127.0.0.1:8099/callback"

        def cycle(client, *more):
            asked = {"client_id": client, "redirect_uri": redirect, "scope": "openid profile", "response_type": "code"}
            return lambda: self.lg(
                "codeflow", f"{base}/oauth2/authorize?{urllib.parse.urlencode(asked)}", "--cookie", cookie, "--token-url", f"{base}/oauth2/token",
                "--client-id", client, "--secret", SECRET, "--redirect-uri", redirect, "--pid", self.pid["auth"], *more,
            )

        results = self.rounds({
            "hello": self.hello,
            "signature": lambda: self.crypto("aws-lc-rs ES256 sign"),
            "cycle": cycle("app"),
            "bound": cycle("bound-app", "--par-url", f"{base}/oauth2/par", "--dpop"),
        })
        limits = self.composite(results["hello"], 2, results["signature"])
        self.ratio_row("code + PKCE cycles, ES256 ID token, durable SQLite", 0.10, results["cycle"], limits, "2 × axum + one signature")
        limits = self.composite(results["hello"], 3, results["signature"])
        self.ratio_row("PAR + code + token with DPoP, durable SQLite", None, results["bound"], limits, "3 × axum + one signature")

    def measure_logins(self):
        body = urllib.parse.urlencode({"grant_type": "password", "client_id": "console", "username": "alice", "password": PASSWORD, "scope": "openid"})
        token = self.token()
        base = f"http://127.0.0.1:{self.port['auth']}"
        limits, tails, logins = [], [], []
        for number in range(ROUNDS):
            limit = self.crypto("argon2")
            limits.append((limit["rps"], limit["cpu_us_per_req"]))
            beside = self.lg(
                "load", f"{base}/oauth2/introspect", "-c", 4, "--rate", 100, "-X", "POST", "--body", f"token={token}", "-H", self.FORM,
                "-H", f"authorization: {self.basic('reader')}", secs=str(float(SECS) + 1), wait=False,
            )
            login = self.lg("load", f"{base}/oauth2/token", "-c", 4, "-X", "POST", "--body", body, "-H", self.FORM, "--pid", self.pid["auth"], secs=str(float(SECS) + 1))
            tails.append(self.result(beside, "introspection beside log-ins")["p99_us"])
            logins.append(login)
            print(f"  round {number + 1}/{ROUNDS}", file=sys.stderr)
        self.ratio_row("log-ins (password grant, Argon2id)", 0.9, logins, limits, "the Argon2id limit")
        tail = statistics.median(tails) / 1000
        self.row("introspection p99 beside log-ins, 100/s", "< 5 ms", f"{tail:.1f} ms", tail < 5, "")

    def chat(self, server, stream, *more, model="mock", kind=None):
        """One load; "policed" is the gateway with every policy on. `model` is the upstream's, and `kind` leads to it."""
        name = "gateway" if server == "policed" else server
        policed = f"policed-{kind}" if kind else "policed"
        model = {"gateway": "bench", "policed": policed}.get(server, model)
        body = {"model": model, "messages": [{"role": "user", "content": "Tell me about foxes. " * 10}]}
        must = '"finish_reason":"stop"'
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
            must = "[DONE]"
        headers = ["content-type: application/json", f"authorization: Bearer {self.access}"]
        return self.post(self.port[name], "/v1/chat/completions", json.dumps(body), headers, self.pid[name], "--must", must, *more)

    def measure_gateway(self):
        self.access = self.token()
        results = self.rounds({
            f"{name} {kind}": lambda name=name, stream=stream: self.chat(name, stream)
            for kind, stream in (("plain", False), ("stream", True)) for name in ("proxy", "gateway", "policed")
        })
        for kind, aim, policed_aim in (("plain", 0.5, 0.4), ("stream", 0.8, 0.8)):
            limits = self.composite(results[f"proxy {kind}"])
            self.ratio_row(f"gateway chat, {kind}, with a durable usage row", aim, results[f"gateway {kind}"], limits, "bare axum proxy")
            self.ratio_row(f"gateway chat, {kind}, every policy on", policed_aim, results[f"policed {kind}"], limits, "bare axum proxy")
            self.notes.append(f"bare proxy, {kind}: {self.rate(results[f'proxy {kind}'])}")

    def measure_latency(self):
        self.access = self.token()
        fixed = ("--rate", 200, "-c", 8)
        results = self.rounds({name: lambda name=name: self.chat(name, False, *fixed) for name in ("upstream", "proxy", "gateway", "policed")})
        for key, aim in (("p50_us", 1.5), ("p99_us", 3.0)):
            added = lambda name: [got[key] - bare[key] for got, bare in zip(results[name], results["upstream"])]
            proxy = statistics.median(added("proxy"))
            for server, what in (("gateway", ""), ("policed", ", every policy on")):
                gateway = statistics.median(added(server))
                ratio = gateway / max(proxy, 1)
                detail = f"gateway +{gateway:.0f} µs, proxy +{proxy:.0f} µs"
                self.row(f"added {key[:3]} at 200/s{what}", f"≤ {aim} × the bare proxy's", f"{ratio:.2f}", ratio <= aim, detail)
        # A chunk that tells nothing but the role waits for the first content, so what is compared is an answer that begins with content
        # at hand, and one whose chunks come one by one: there whatever waits for more, or for an acknowledgement, shows.
        slow = ("--rate", 20, "-c", 8)
        results = self.rounds({
            (name, kind): lambda name=name, kind=kind: self.chat(name, True, *slow, model=STREAMS[kind], kind=kind)
            for kind in STREAMS for name in ("upstream", "policed")
        })
        later = lambda kind, key: statistics.median(
            got[key] - bare[key] for got, bare in zip(results["policed", kind], results["upstream", kind])) / 1000
        first, whole = later("burst", "first_p50_us"), later("paced", "max_us")
        self.row("first chunk later than direct, every policy on", "≤ 1 ms", f"{first:.2f} ms", first <= 1, "20/s; median")
        detail = "20 chunks, 5 ms apart, 20/s; the longest of each round, median of the differences"
        self.row("end of a stream later than direct, every policy on", "no 40 ms stall", f"{whole:.1f} ms", whole < 40, detail)

    def rss(self, name, kind="VmRSS"):
        for line in pathlib.Path(f"/proc/{self.pid[name]}/status").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1]) / 1024
        return float("nan")

    def measure_start(self):
        """Before anything else runs: from exec to the first 200 of /readyz, then the memory at rest."""
        self.idle = {}
        provider = self.serve("auth-server", "auth")
        self.wait_port(self.port["auth"], provider)
        for name, config, status in (("resource-gateway", "gateway", "gateway_status"), ("auth-server", "auth", "auth_status")):
            times = []
            if config == "auth":
                self.end(provider)
            for _ in range(max(ROUNDS, 5)):
                begun = time.monotonic()
                child = self.serve(name, config)
                while self.get(self.port[status], "/readyz")[0] != 200:
                    if time.monotonic() - begun > 20:
                        sys.exit(f"{name} does not get ready; logs are in {self.dir}")
                    time.sleep(0.001)
                times.append((time.monotonic() - begun) * 1000)
                time.sleep(1)
                self.idle[config] = self.rss(config)
                self.end(child)
            middle = statistics.median(times)
            self.row(f"start to ready, {name}", "< 300 ms", f"{middle:.0f} ms", middle < 300, f"{min(times):.0f} – {max(times):.0f} ms")
            self.row(f"idle RSS, {name}", "< 40 MB", f"{self.idle[config] * 1.048576:.0f} MB", self.idle[config] * 1.048576 < 40, "")

    def end(self, child):
        child.send_signal(signal.SIGTERM)
        child.wait(20)

    def loaded(self):
        for name, config in (("auth-server", "auth"), ("resource-gateway", "gateway")):
            if config not in self.pid:
                continue
            before = self.idle.get(config)
            after = self.rss(config)
            self.row(f"RSS after all load, {name}", "flat", f"{after * 1.048576:.0f} MB", before is None or after < before + 40, f"idle {before * 1.048576:.0f} MB" if before else "")

    def report(self):
        print("| measurement | aim | measured (median, range of rounds) | by CPU | met | detail |\n|---|---|---|---|---|---|")
        for row in self.rows:
            print("| " + " | ".join(row) + " |")
        for note in self.notes:
            print(f"\n{note}")
        load = os.getloadavg()[0]
        print(f"\n{ROUNDS} rounds of {SECS} s; services on core {SERVER_CORE}, load and upstream on core {LOAD_CORE}; 1-minute load at the end {load:.1f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--services", required=True)
    parser.add_argument("--kit", required=True)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    all_names = ["tokens", "pages", "code", "logins", "gateway", "latency"]
    wanted = arguments.names or ["start", *all_names]
    bench = Bench(arguments.services, arguments.kit, wanted)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        bench.configure()
        bench.idle = {}
        if "start" in wanted:
            print("start to ready", file=sys.stderr)
            bench.measure_start()
        bench.start()
        for name in all_names:
            if name in wanted:
                print(name, file=sys.stderr)
                getattr(bench, f"measure_{name}")()
        bench.loaded()
    finally:
        bench.stop()
    bench.report()


if __name__ == "__main__":
    main()
