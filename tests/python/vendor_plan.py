"""What the drivers of vendors_*.py share: the plan, the marks in requests, and checks that go on after one failed."""
import base64
import hashlib
import json
import os
import sys
import traceback
import uuid

import httpx

with open(os.environ["HEXGATE_VENDORS"]) as file:
    plan = json.load(file)

# Letters of two and more bytes: a stream is cut within them.
CITY = "Zürich"
USAGE = (30, 12)
PICTURE = b"\x89PNG\r\n\x1a\n" + b"".join(hashlib.sha256(bytes([i])).digest() for i in range(256)) * 6
SEEN = f"{len(PICTURE)}:{hashlib.sha256(PICTURE).hexdigest()[:12]}"
PICTURE_BASE64 = base64.b64encode(PICTURE).decode()
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
    "required": ["city"],
}


def mark():
    return uuid.uuid4().hex


def arrived(marker):
    """The requests that reached the vendor with that mark in them."""
    reply = httpx.get(f"{plan['control']}/calls", params={"marker": marker}, trust_env=False)
    return reply.raise_for_status().json()["calls"]


def facts(text):
    """What the vendor says it understood."""
    assert text.startswith("Understood {") and text.endswith("} — 你好, wörld 🙂"), text
    return json.loads(text[len("Understood "):text.rindex(" — ")])


def raises(kind, status, call):
    """The SDK's own exception, of exactly that type."""
    try:
        call()
    except Exception as error:
        assert type(error) is kind, f"{type(error).__name__} in place of {kind.__name__}: {error}"
        if status is not None:
            assert error.status_code == status, (error.status_code, str(error))
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


class Checks:
    """Runs checks and remembers which failed."""

    def __init__(self):
        self.passed, self.failed = 0, []

    def run(self, name, check, *arguments):
        try:
            check(*arguments)
            self.passed += 1
        except Exception as error:
            where = next((frame for frame in reversed(traceback.extract_tb(error.__traceback__)) if "vendor" in frame.filename), None)
            line = where.lineno if where else "?"
            self.failed.append(f"{name}: {type(error).__name__} (line {line}): {str(error)[:600]}")

    def report(self):
        print(f"{self.passed} passed, {len(self.failed)} failed")
        print("\n".join(self.failed))
        sys.exit(1 if self.failed else 0)
