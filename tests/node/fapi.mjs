// openid-client (npm) as a FAPI 2.0 client that registers itself: private_key_jwt, pushed requests, DPoP, signed responses. It knows nothing but demo.json.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as client from 'openid-client'
import { demo, launch, person, press, signIn } from './support.mjs'

const REDIRECT = 'https://fapi.example/callback'
let browser
before(async () => { browser = await launch() })
after(() => browser.close())

async function keys() {
  const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify'])
  const jwk = { ...(await crypto.subtle.exportKey('jwk', pair.publicKey)), kid: crypto.randomUUID(), use: 'sig', alg: 'ES256' }
  delete jwk.key_ops
  delete jwk.ext
  return { private: { key: pair.privateKey, kid: jwk.kid }, jwk }
}

/** Registers a client whose every exchange is signed and bound. */
async function register(metadata = {}) {
  const own = await keys()
  const config = await client.dynamicClientRegistration(
    new URL(demo.issuer),
    {
      client_name: 'FAPI client',
      redirect_uris: [REDIRECT],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
      id_token_signed_response_alg: 'ES256',
      dpop_bound_access_tokens: true,
      require_pushed_authorization_requests: true,
      jwks: { keys: [own.jwk] },
      ...metadata,
    },
    client.PrivateKeyJwt(own.private),
    { execute: [client.allowInsecureRequests] },
  )
  return { config, own }
}

async function flow(config, { jarm, signing } = {}) {
  const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'))
  const pkceCodeVerifier = client.randomPKCECodeVerifier()
  const [expectedState, expectedNonce] = [client.randomState(), client.randomNonce()]
  const parameters = {
    redirect_uri: REDIRECT,
    scope: 'openid profile offline_access',
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    state: expectedState,
    nonce: expectedNonce,
    prompt: 'consent',
    claims: JSON.stringify({ userinfo: { email: { essential: true } } }),
  }
  if (jarm) client.useJwtResponseMode(config)
  const asked = signing
    ? (await client.buildAuthorizationUrlWithJAR(config, parameters, signing)).searchParams
    : parameters
  if (signing) assert.deepEqual([...asked.keys()].sort(), ['client_id', 'request'])
  const url = await client.buildAuthorizationUrlWithPAR(config, asked, { DPoP })
  assert.deepEqual([...url.searchParams.keys()].sort(), ['client_id', 'request_uri'])

  const { context, page } = await person(browser)
  await page.goto(url.href)
  // A reload before the sign-in does not burn the request.
  await page.goto(url.href)
  await signIn(page)
  await press(page, '#consent-allow')
  await page.waitForSelector('#app')
  const back = new URL(page.url())
  if (jarm) assert.deepEqual([...back.searchParams.keys()], ['response'])
  await context.close()
  const tokens = await client.authorizationCodeGrant(
    config, back, { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true }, undefined, { DPoP })
  assert.equal(tokens.token_type, 'dpop')
  const about = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub, { DPoP })
  assert.equal(about.name, 'Alice Liddell')
  assert.equal(about.email, 'alice@example.org')
  const renewed = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP })
  assert.equal(renewed.token_type, 'dpop')
  return { tokens, url }
}

test('pushed request, private_key_jwt, DPoP', async () => {
  const { config } = await register()
  const { url } = await flow(config)
  // What was answered is over: the reference is good for nothing any more.
  const { context, page } = await person(browser)
  await page.goto(url.href)
  assert.ok(await page.$('#oauth-error'))
  await context.close()
})

test('signed responses (JARM)', async () => {
  const { config } = await register({ authorization_signed_response_alg: 'ES256' })
  await flow(config, { jarm: true })
})

test('message signing: signed requests, pushed, and signed responses', async () => {
  const { config, own } = await register({
    authorization_signed_response_alg: 'ES256',
    request_object_signing_alg: 'ES256',
    require_signed_request_object: true,
  })
  await flow(config, { jarm: true, signing: own.private })
  // Unsigned it gets nowhere.
  await assert.rejects(flow(config, { jarm: true }), (error) => error.error === 'invalid_request')
})
