"""The Model Context Protocol's Python SDK as a client of an MCP server that trusts this provider: it finds the provider, registers and
signs in by itself. It knows nothing but demo.json."""
import asyncio
import http.server
import json
import os
import threading
import urllib.parse

import httpx2
from mcp.client.auth import OAuthClientProvider, TokenStorage
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

from forms import authorize

with open(os.environ["HEXGATE_DEMO"]) as file:
    demo = json.load(file)
issuer, users = demo["issuer"], demo["users"]


class Server(http.server.BaseHTTPRequestHandler):
    """The MCP server, as far as it matters here: it wants a token, and says who issues it (RFC 9728)."""

    def do_GET(self):
        if self.path.startswith("/.well-known/oauth-protected-resource"):
            self.answer(200, {"resource": f"{base}/mcp", "authorization_servers": [issuer], "scopes_supported": ["openid", "profile"]})
        elif self.path == "/mcp" and self.headers.get("authorization", "").startswith("Bearer "):
            self.answer(200, {"token": self.headers["authorization"].split(" ")[1]})
        elif self.path == "/mcp":
            self.answer(401, {}, f'Bearer resource_metadata="{base}/.well-known/oauth-protected-resource/mcp"')
        else:
            self.answer(404, {})

    def answer(self, status, body, challenge=None):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        if challenge:
            self.send_header("www-authenticate", challenge)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


listener = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["HEXGATE_MCP_PORT"])), Server)
threading.Thread(target=listener.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{listener.server_port}"


class Memory(TokenStorage):
    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def main():
    seen = {}

    async def redirect(url):
        seen["back"] = await asyncio.to_thread(authorize, issuer, url, **users["alice"])

    async def callback():
        parameters = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(seen["back"]).query))
        return AuthorizationCodeResult(code=parameters["code"], state=parameters["state"], iss=parameters["iss"])

    provider = OAuthClientProvider(
        server_url=f"{base}/mcp",
        client_metadata=OAuthClientMetadata(
            client_name="MCP client",
            redirect_uris=["http://127.0.0.1:33419/callback"],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            token_endpoint_auth_method="none",
            scope="openid profile",
        ),
        storage=Memory(),
        redirect_handler=redirect,
        callback_handler=callback,
    )
    async with httpx2.AsyncClient(auth=provider, trust_env=False) as client:
        answer = await client.get(f"{base}/mcp")
        assert answer.status_code == 200, answer.text
        token = answer.json()["token"]
    payload = token.split(".")[1]
    claims = json.loads(__import__("base64").urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    assert f"{base}/mcp" in audience, claims


asyncio.run(main())
