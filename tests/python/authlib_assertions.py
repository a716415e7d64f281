"""authlib (PyPI) as applications that register themselves and sign assertions: with a key of theirs, with their secret. As it comes it
names the token endpoint as the audience; told otherwise, the issuer. It knows nothing but demo.json."""
import json
import os
import secrets

import httpx
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oauth2.rfc7523 import ClientSecretJWT, PrivateKeyJWT
from joserfc.jwk import ECKey, RSAKey

from forms import authorize

with open(os.environ["HEXGATE_DEMO"]) as file:
    demo = json.load(file)
issuer, users = demo["issuer"], demo["users"]
http = httpx.Client(trust_env=False)
metadata = http.get(f"{issuer}/.well-known/openid-configuration").raise_for_status().json()


def register(method, **more):
    asked = {
        "client_name": f"authlib {method}",
        "redirect_uris": ["https://app.example/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": method,
        "scope": "openid profile offline_access",
        **more,
    }
    answer = http.post(metadata["registration_endpoint"], json=asked)
    assert answer.status_code == 201, answer.text
    return answer.json()


def sign_in(client, secret, auth_method):
    session = OAuth2Client(
        client["client_id"],
        secret,
        scope="openid profile offline_access",
        redirect_uri=client["redirect_uris"][0],
        token_endpoint_auth_method=auth_method.name,
        revocation_endpoint_auth_method=auth_method.name,
        code_challenge_method="S256",
        trust_env=False,
    )
    session.register_client_auth_method(auth_method)
    verifier = secrets.token_urlsafe(48)
    url, state = session.create_authorization_url(metadata["authorization_endpoint"], code_verifier=verifier)
    back = authorize(issuer, url, **users["alice"])
    token = session.fetch_token(metadata["token_endpoint"], authorization_response=back, code_verifier=verifier, state=state)
    assert session.get(metadata["userinfo_endpoint"]).raise_for_status().json()["name"] == "Alice Liddell"
    renewed = session.refresh_token(metadata["token_endpoint"], refresh_token=token["refresh_token"])
    assert renewed["access_token"] != token["access_token"]
    revoked = session.revoke_token(metadata["revocation_endpoint"], token=renewed["refresh_token"])
    assert revoked.status_code == 200, revoked.text


for key, alg in [(RSAKey.generate_key(2048, private=True), "RS256"), (ECKey.generate_key("P-256", private=True), "ES256")]:
    client = register("private_key_jwt", jwks={"keys": [key.as_dict(private=False)]})
    assert "client_secret" not in client, client
    sign_in(client, key, PrivateKeyJWT(alg=alg))
    sign_in(client, key, PrivateKeyJWT(token_endpoint=issuer, alg=alg))
    other = ECKey.generate_key("P-256", private=True)
    try:
        sign_in(client, other, PrivateKeyJWT(alg="ES256"))
        raise SystemExit("another key was taken for the client's")
    except OAuthError as error:
        assert error.error == "invalid_client", error.error

client = register("client_secret_jwt")
sign_in(client, client["client_secret"], ClientSecretJWT())
sign_in(client, client["client_secret"], ClientSecretJWT(token_endpoint=issuer))
try:
    sign_in(client, secrets.token_urlsafe(48), ClientSecretJWT())
    raise SystemExit("another secret was taken for the client's")
except OAuthError as error:
    assert error.error == "invalid_client", error.error
print("ok")
