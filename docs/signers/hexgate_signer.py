#!/usr/bin/env python3
"""Signs requests to Hexgate's gateway with an access key (docs/access-keys.md). Standard library only.

As a library:

    headers = sign("hgk_…", "hgks_…", "POST", "https://gateway.example/v1/chat/completions", body)

As a program, with HEXGATE_ACCESS_KEY and HEXGATE_SECRET in the environment, it sends a request and prints the reply:

    hexgate_signer.py POST https://gateway.example/v1/chat/completions request.json
"""

import hashlib
import hmac
import os
import re
import secrets
import sys
import urllib.error
import urllib.request
from datetime import datetime, timezone
from urllib.parse import quote, unquote_to_bytes, urlsplit

SCHEME = "HEXGATE-HMAC-SHA256"
REQUIRED = ("host", "x-hexgate-content-sha256", "x-hexgate-date", "x-hexgate-nonce")


def encode(text):
    """RFC 3986: what is encoded is decoded once, then all but unreserved characters are encoded."""
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        raise ValueError("a percent sign begins no encoding; write %25")
    return quote(unquote_to_bytes(text), safe="-._~")


def canonical_path(path):
    segments = (path or "/").split("/")
    encoded = [encode(segment) for segment in segments]
    inner = encoded[1:]
    if segments[0] or any(segment in (".", "..") for segment in inner) or "" in inner[:-1]:
        raise ValueError("the path must begin with a slash and have no dot segments and no empty ones")
    if any(re.search("%(2F|5C|7F|[01][0-9A-F])", segment) for segment in inner):
        raise ValueError("the path has an encoded slash, backslash or control character")
    return "/".join(encoded)


def canonical_query(query):
    if "+" in query:
        raise ValueError("the query has a plus sign; write %20 or %2B")
    pairs = [parameter.partition("=") for parameter in query.split("&") if parameter]
    encoded = [(encode(name), encode(value)) for name, _, value in pairs]
    # The sort is stable: parameters of one name keep their order.
    return "&".join(f"{name}={value}" for name, value in sorted(encoded, key=lambda pair: pair[0]))


def canonical_request(method, url, headers):
    """`headers` are those to be signed, names in lower case."""
    parts = urlsplit(url)
    names = sorted(headers)
    lines = [f"{name}:{headers[name].strip(' ' + chr(9))}" for name in names]
    return "\n".join([method, canonical_path(parts.path), canonical_query(parts.query), *lines, "", ";".join(names)])


def string_to_sign(key_id, date, expires, canonical):
    digest = hashlib.sha256(canonical.encode("ascii")).hexdigest()
    return "\n".join([SCHEME, date, str(expires), key_id, digest])


def sign(key_id, secret, method, url, body=b"", headers=None, expires=300, date=None, nonce=None):
    """The headers to send: those given, which are signed too, and the signature's own."""
    parts = urlsplit(url)
    signed = {name.lower(): value for name, value in (headers or {}).items()}
    signed["host"] = parts.netloc.rpartition("@")[2].lower()
    signed["x-hexgate-date"] = date or datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    signed["x-hexgate-nonce"] = nonce or secrets.token_hex(16)
    signed["x-hexgate-content-sha256"] = hashlib.sha256(body).hexdigest()
    canonical = canonical_request(method, url, signed)
    text = string_to_sign(key_id, signed["x-hexgate-date"], expires, canonical)
    signature = hmac.new(secret.encode("ascii"), text.encode("ascii"), hashlib.sha256).hexdigest()
    signed["authorization"] = (
        f"{SCHEME} Credential={key_id}, Expires={expires}, "
        f"SignedHeaders={';'.join(name for name in sorted(signed))}, Signature={signature}"
    )
    return signed


def main(method, url, body_file=None):
    body = b""
    if body_file:
        with open(body_file, "rb") as file:
            body = file.read()
    more = {"content-type": "application/json"} if body else {}
    headers = sign(os.environ["HEXGATE_ACCESS_KEY"], os.environ["HEXGATE_SECRET"], method, url, body, more)
    request = urllib.request.Request(url, data=body or None, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request) as reply:
            status, text = reply.status, reply.read()
    except urllib.error.HTTPError as refused:
        status, text = refused.code, refused.read()
    print(status)
    sys.stdout.buffer.write(text)
    return 0 if status < 400 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
