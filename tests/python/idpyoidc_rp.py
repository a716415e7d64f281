"""idpyoidc (PyPI), a certified relying party that validates strictly: it finds the provider, registers, signs a person in and out. It knows nothing but demo.json."""
import json
import os
import sys
import tempfile
import urllib.parse

import httpx
from idpyoidc.client.defaults import DEFAULT_OIDC_SERVICES
from idpyoidc.client.rp_handler import RPHandler

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from forms import authorize  # noqa: E402

with open(os.environ["HEXGATE_DEMO"]) as file:
    demo = json.load(file)
issuer, users = demo["issuer"], demo["users"]
# The library keeps its keys in the working directory.
os.chdir(tempfile.mkdtemp())

base = "http://127.0.0.1:33420"

handler = RPHandler(
    base_url=base,
    services={**DEFAULT_OIDC_SERVICES, "end_session": {"class": "idpyoidc.client.oidc.end_session.EndSession"}},
    client_configs={
        "hexgate": {
            "issuer": issuer,
            "client_type": "oidc",
            "redirect_uris": [f"{base}/callback"],
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
client = next(iter(handler.issuer2rp.values()))
parameters = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back).query))
done = handler.finalize(issuer, parameters)
assert "error" not in done, done
assert done["userinfo"]["sub"] == done["id_token"]["sub"], done
assert done["id_token"]["iss"] == issuer

# RP-initiated logout.
leave = client.logout(state=parameters["state"])["url"]
assert leave.startswith(f"{issuer}/"), leave
answer = httpx.get(leave, trust_env=False)
assert answer.is_redirect or answer.status_code == 200, answer.text
