#!/usr/bin/env python3
"""Runs both services under mixed load for a long time and tells what grew: memory, open files, tables, errors.

    scripts/bench.sh builds what it needs; then
    python3 bench/soak.py --services DIR --kit DIR --minutes 30

Each kind of call has the answers that it may get; anything else is an unexpected answer, and the exit status says whether there were any.
"""
import argparse
import collections
import http.client
import json
import os
import pathlib
import random
import signal
import sqlite3
import statistics
import sys
import threading
import time

import run

WORKERS = 6
DOCUMENT = run.POLICED + """
[[interface]]
name = "fails-over"
capability = "chat"
routes = [{ vendor = "mock", model = "mock-e503", priority = 0 }, { vendor = "mock", model = "mock", priority = 1 }]

[[interface]]
name = "fails"
capability = "chat"
routes = [{ vendor = "mock", model = "mock-e500" }]

[[interface]]
name = "slow"
capability = "chat"
routes = [{ vendor = "mock", model = "mock-d5-c20-n200" }]

[[interface]]
name = "limited"
capability = "chat"
routes = [{ vendor = "mock", model = "mock" }]
limits = { requests_per_minute = 60 }

[[interface]]
name = "poor"
capability = "chat"
routes = [{ vendor = "mock", model = "mock" }]

[[quota]]
name = "poor"
interface = "poor"
amount = "0.01"
currency = "USD"
period = "day"

[[interface]]
name = "cached"
capability = "chat"
routes = [{ vendor = "mock", model = "mock" }]
cache_ttl_s = 30

[[interface]]
name = "talks"
capability = "chat"
routes = [{ vendor = "mock", model = "mock" }]
conversation = { enabled = true, max_messages = 20 }

[[interface]]
name = "logged"
capability = "chat"
routes = [{ vendor = "mock", model = "mock" }]
log = { metadata = true, payload = true }

[[interface]]
name = "later"
capability = "chat"
routes = [{ vendor = "mock", model = "mock-d50" }]
jobs = { retention_hours = 1, max_waiting_per_client = 1000 }

[[vendor]]
name = "sandbox"
strategy = "sandbox"

[[price]]
name = "mock"
vendor = "mock"
input_per_million = "0.15"
output_per_million = "0.60"
currency = "USD"

[[price]]
name = "sandbox"
vendor = "sandbox"
per_call = "0.001"
currency = "USD"

[[interface]]
name = "labels"
capability = "labels"
routes = [{ vendor = "sandbox", model = "labels" }]
min_confidence = 0.7
"""
# A picture of one pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Soak(run.Bench):
    def __init__(self, services, kit):
        super().__init__(services, kit, ["gateway"])
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        self.seen = collections.Counter()
        self.unexpected = collections.Counter()
        self.samples = []

    def configure(self):
        run.POLICED = DOCUMENT
        run.AUTH_DOCUMENT = run.AUTH_DOCUMENT.replace('scope = "ai:chat"', 'scope = "ai:chat ai:labels"')
        super().configure()

    def token(self):
        return self.ask_token({"grant_type": "client_credentials", "scope": "ai:chat ai:labels"}, {"authorization": self.basic("machine")})

    # -- one call of each kind --------------------------------------------------------------------------------------

    def kinds(self):
        """(how often, name, statuses that it may have, what does it)."""
        return [
            (30, "plain", {200}, lambda c: self.chat_on(c, "policed")),
            (20, "stream", {200}, lambda c: self.chat_on(c, "policed", stream=True)),
            (6, "fails over", {200}, lambda c: self.chat_on(c, "fails-over")),
            (4, "fails", {502, 503}, lambda c: self.chat_on(c, "fails")),
            (6, "leaves in mid-stream", {200}, self.leave),
            (6, "limited", {200, 429}, lambda c: self.chat_on(c, "limited")),
            (4, "out of budget", {200, 429}, lambda c: self.chat_on(c, "poor")),
            (6, "cached", {200}, lambda c: self.chat_on(c, "cached", text=f"question {random.randrange(40)}")),
            (4, "repeated by key", {200, 409}, lambda c: self.chat_on(c, "policed", text="once", key=f"key-{random.randrange(2000)}")),
            (3, "conversation", {200}, self.converse),
            (4, "logged", {200}, lambda c: self.chat_on(c, "logged")),
            (2, "job", {200, 202}, self.job),
            (4, "labels", {200}, self.labels),
            (2, "no token", {401}, lambda c: self.send(c, "POST", "/v1/chat/completions", {"model": "policed"}, token="")[0]),
            (2, "unknown model", {404}, lambda c: self.chat_on(c, "nobody")),
            (2, "malformed", {400}, lambda c: self.send(c, "POST", "/v1/chat/completions", "{")[0]),
        ]

    def send(self, connection, method, path, body=None, token=None, headers=None):
        headers = {"content-type": "application/json", **(headers or {})}
        token = self.access if token is None else token
        if token:
            headers["authorization"] = f"Bearer {token}"
        text = body if isinstance(body, str) or body is None else json.dumps(body)
        connection.request(method, path, text, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()

    def chat_on(self, connection, model, stream=False, text="Tell me about foxes.", key=None, conversation=None, headers=None):
        body = {"model": model, "max_tokens": 200, "messages": [{"role": "user", "content": text}]}
        if stream:
            body["stream"] = True
        if conversation:
            body["conversation_id"] = conversation
        headers = {"idempotency-key": key} if key else headers
        status, self_headers, answer = self.send(connection, "POST", "/v1/chat/completions", body, headers=headers)
        if status == 200 and stream and b"[DONE]" not in answer:
            return "cut stream"
        if conversation:
            return status, self_headers
        return status

    def leave(self, _):
        connection = http.client.HTTPConnection("127.0.0.1", self.port["gateway"], timeout=30)
        body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "Go on."}]}
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.access}"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        response = connection.getresponse()
        response.read(40)
        connection.close()
        return response.status

    def converse(self, connection):
        status, headers = self.chat_on(connection, "talks", conversation="new")
        name = headers.get("x-hexgate-conversation-id")
        for _ in range(2):
            if status == 200:
                status, _ = self.chat_on(connection, "talks", conversation=name)
        if status == 200 and random.random() < 0.5:
            deleted = self.send(connection, "DELETE", f"/v1/conversations/{name}")[0]
            return 200 if deleted == 204 else deleted
        return status

    def job(self, connection):
        body = {"model": "later", "messages": [{"role": "user", "content": "Later."}]}
        status, _, answer = self.send(connection, "POST", "/v1/chat/completions", body, headers={"prefer": "respond-async"})
        if status != 202:
            return status
        return self.send(connection, "GET", f"/v1/jobs/{json.loads(answer)['id']}")[0]

    def labels(self, connection):
        return self.send(connection, "POST", "/v1/images/labels", {"model": "labels", "image": {"base64": PIXEL}})[0]

    # -- the load ----------------------------------------------------------------------------------------------------

    def work(self, rate):
        kinds = self.kinds()
        weights = [often for often, *_ in kinds]
        connection = http.client.HTTPConnection("127.0.0.1", self.port["gateway"], timeout=30)
        due = time.monotonic()
        while not self.stopped.is_set():
            due += 1 / rate
            time.sleep(max(0, due - time.monotonic()))
            _, name, wanted, call = random.choices(kinds, weights)[0]
            try:
                got = call(connection)
            except (OSError, http.client.HTTPException) as error:
                got = repr(error)
                connection.close()
            with self.lock:
                self.seen[name] += 1
                if got not in wanted:
                    self.unexpected[f"{name}: {got}"] += 1

    def sample(self, begun):
        def of(name):
            pid = self.pid[name]
            return self.rss(name), self.rss(name, "RssAnon"), len(os.listdir(f"/proc/{pid}/fd"))
        self.samples.append((time.monotonic() - begun, *of("gateway"), *of("auth")))

    def tables(self):
        db = sqlite3.connect(f"file:{self.dir}/gateway.db?mode=ro", uri=True)
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        counts = {name: db.execute(f'SELECT COUNT(*) FROM "{name}"').fetchone()[0] for name in names}
        db.close()
        return counts

    def soak(self, minutes, rate):
        self.access = self.token()
        begun = time.monotonic()
        threads = [threading.Thread(target=self.work, args=(rate / WORKERS,), daemon=True) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        asked = time.monotonic()
        tables = []
        while (passed := time.monotonic() - begun) < minutes * 60:
            time.sleep(min(15, minutes * 60 - passed))
            self.sample(begun)
            if len(self.samples) % max(1, int(minutes * 4 / 3)) == 0:
                tables.append(self.tables())
            if time.monotonic() - asked > 600:
                self.access, asked = self.token(), time.monotonic()
        self.stopped.set()
        for thread in threads:
            thread.join(60)
        tables.append(self.tables())
        self.tell(minutes, tables)

    def tell(self, minutes, tables):
        third = len(self.samples) // 3
        print(f"{sum(self.seen.values()):,} calls in {minutes:g} minutes: " + ", ".join(f"{name} {count:,}" for name, count in self.seen.most_common()))
        print(f"\nunexpected: {sum(self.unexpected.values())} {dict(self.unexpected) or ''}\n")
        print("| | first third | second third | last third |\n|---|---|---|---|")
        figures = [f"{service}, {what}" for service in ("gateway", "provider") for what in ("resident MB", "of it private MB", "open files")]
        for at, what in enumerate(figures, 1):
            medians = [statistics.median(row[at] for row in self.samples[part * third:(part + 1) * third] or self.samples) for part in range(3)]
            print(f"| {what} | " + " | ".join(f"{median:.1f}" for median in medians) + " |")
        print("\n| table | rows, from third to third |\n|---|---|")
        for name in tables[-1]:
            rows = [counts.get(name, 0) for counts in tables]
            if rows[-1] > 0 or any(rows):
                print(f"| `{name}` | {' → '.join(f'{count:,}' for count in rows)} |")
        status, text = self.get(self.port["gateway_status"], "/status")
        print(f"\n/status {status}: {text}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--services", required=True)
    parser.add_argument("--kit", required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=120, help="calls a second")
    arguments = parser.parse_args()
    soak = Soak(arguments.services, arguments.kit)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        soak.configure()
        soak.idle = {}
        soak.start()
        soak.soak(arguments.minutes, arguments.rate)
    finally:
        soak.stop()
    sys.exit(1 if soak.unexpected else 0)


if __name__ == "__main__":
    main()
