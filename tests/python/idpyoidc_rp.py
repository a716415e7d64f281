"""idpyoidc (PyPI), a certified relying party that validates strictly: it finds the provider, registers, signs a person in, refreshes,
and takes the logout token that ends the session. It knows nothing but demo.json."""
import http.server
import json
import os
import sys
import tempfile
import threading
import urllib.parse

from idpyoidc.client.rp_handler import RPHandler

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from forms import authorize  # noqa: E402

with open(os.environ["HEXGATE_DEMO"]) as file:
    demo = json.load(file)
issuer, users = demo["issuer"], demo["users"]
# The library keeps its keys in the working directory.
os.chdir(tempfile.mkdtemp())

logouts = []
arrived = threading.Event()


class Application(http.server.BaseHTTPRequestHandler):
    """What the provider calls: the back-channel logout address."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        logouts.append((self.path, urllib.parse.parse_qs(body)))
        self.send_response(200)
        self.end_headers()
        arrived.set()

    def log_message(self, *_):
        pass


listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Application)
threading.Thread(target=listener.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{listener.server_port}"

handler = RPHandler(
    base_url=base,
    client_configs={
        "hexgate": {
            "issuer": issuer,
            "client_type": "oidc",
            "redirect_uris": [f"{base}/callback"],
            "post_logout_redirect_uris": [f"{base}/bye"],
            "backchannel_logout_uri": f"{base}/backchannel",
            "backchannel_logout_session_required": True,
            "application_type": "native",
            "application_name": "idpyoidc",
            "response_types_supported": ["code"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "add_ons": {
                "pkce": {
                    "function": "idpyoidc.client.oauth2.add_on.pkce.add_support",
                    "kwargs": {"code_challenge_length": 64, "code_challenge_method": "S256"},
                }
            },
        }
    },
)

target = handler.begin("hexgate")
target = target if isinstance(target, str) else target["url"]
back = authorize(issuer, target, **users["alice"])
client = handler.issuer2rp["hexgate"]
parameters = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back).query))
done = handler.finalize("hexgate", parameters)
assert "error" not in done, done
assert done["userinfo"]["name"] == "Alice Liddell", done
assert done["id_token"]["iss"] == issuer

renewed = client.do_request("refresh_token", state=parameters["state"]) if "refresh_token" in done else None
assert renewed is None or renewed["access_token"] != done["token"], renewed

# RP-initiated logout: the provider tells the application behind the person's back.
leave = handler.logout(state=parameters["state"], client=client)["url"] if hasattr(handler, "logout") else None
assert leave and leave.startswith(issuer), leave
print(json.dumps({"leave": leave, "base": base}))
