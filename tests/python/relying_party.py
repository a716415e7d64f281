"""authlib (PyPI) as an app, a machine and a resource server that know nothing but demo.json."""
import json
import os
import secrets

import httpx
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.jwk import KeySet

from forms import authorize

with open(os.environ["HEXGATE_DEMO"]) as file:
    demo = json.load(file)
issuer, clients, users = demo["issuer"], demo["clients"], demo["users"]
http = httpx.Client(trust_env=False)
metadata = http.get(f"{issuer}/.well-known/openid-configuration").raise_for_status().json()
assert metadata["issuer"] == issuer
keys = KeySet.import_key_set(http.get(metadata["jwks_uri"]).raise_for_status().json())


def app(client, scope=None, method=None):
    secret = client.get("client_secret")
    return OAuth2Client(
        client["client_id"],
        secret,
        scope=scope,
        redirect_uri=client.get("redirect_uri"),
        token_endpoint_auth_method=method or ("client_secret_basic" if secret else "none"),
        code_challenge_method="S256",
        trust_env=False,
    )


def id_claims(token, client, nonce=None):
    """OpenID Connect Core §3.1.3.7, by joserfc."""
    decoded = jwt.decode(token["id_token"], keys, algorithms=metadata["id_token_signing_alg_values_supported"])
    rules = {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": client["client_id"]}, "sub": {"essential": True}, "exp": {"essential": True}}
    if nonce:
        rules["nonce"] = {"essential": True, "value": nonce}
    jwt.JWTClaimsRegistry(**rules).validate(decoded.claims)
    return decoded.claims


def code_flow(client, scope, method=None):
    session = app(client, scope, method)
    nonce, verifier = secrets.token_urlsafe(16), secrets.token_urlsafe(48)
    url, state = session.create_authorization_url(metadata["authorization_endpoint"], nonce=nonce, code_verifier=verifier)
    back = authorize(issuer, url, **users["alice"])
    token = session.fetch_token(metadata["token_endpoint"], authorization_response=back, code_verifier=verifier, state=state)
    return session, token, id_claims(token, client, nonce)


# Code with PKCE: confidential by both methods, public.
for name, scope, method in [
    ("web", "openid profile email phone address offline_access ai:chat", None),
    ("web", "openid profile email offline_access", "client_secret_post"),
    ("spa", "openid profile offline_access ai:chat", None),
]:
    client = clients[name]
    session, token, claims = code_flow(client, scope, method)
    about = session.get(metadata["userinfo_endpoint"]).raise_for_status().json()
    assert about["sub"] == claims["sub"] and about["name"] == "Alice Liddell", about

    renewed = session.refresh_token(metadata["token_endpoint"], refresh_token=token["refresh_token"])
    assert renewed["refresh_token"] != token["refresh_token"]
    assert session.get(metadata["userinfo_endpoint"]).status_code == 200

    asking = app(clients["resource_server"])
    known = asking.introspect_token(metadata["introspection_endpoint"], token=renewed["access_token"], token_type_hint="access_token").json()
    assert known["active"] is True and known["client_id"] == client["client_id"], known
    assert session.revoke_token(metadata["revocation_endpoint"], token=renewed["refresh_token"], token_type_hint="refresh_token").status_code == 200
    known = asking.introspect_token(metadata["introspection_endpoint"], token=renewed["access_token"]).json()
    assert known == {"active": False}, known

# A machine.
machine = app(clients["service"], "ai:chat ai:embeddings")
token = machine.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
assert token["token_type"] == "Bearer" and token["expires_in"] > 0
models = httpx.get(f"{demo['gateway']}/v1/models", headers={"authorization": f"Bearer {token['access_token']}"}, trust_env=False)
assert models.status_code == 200, models.text

# The console.
console = app(clients["console"], "openid profile offline_access admin")
token = console.fetch_token(metadata["token_endpoint"], grant_type="password", **users["admin"])
id_claims(token, clients["console"])
try:
    app(clients["web"], "openid").fetch_token(metadata["token_endpoint"], grant_type="password", **users["alice"])
    raise SystemExit("the web client got a token by the password grant")
except OAuthError as error:
    assert error.error == "unauthorized_client", error.error
print("ok")
