// openid-client (npm), a certified relying party, against a running provider of which it knows only demo.json.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as client from 'openid-client'
import { demo, launch, person, press, signIn } from './support.mjs'

const { web, spa, service, resource_server, console: admin } = demo.clients
const discover = (id, authentication) =>
  client.discovery(new URL(demo.issuer), id, undefined, authentication, { execute: [client.allowInsecureRequests, client.enableNonRepudiationChecks] })

let browser
before(async () => { browser = await launch() })
after(() => browser.close())

/** Sends a person there and answers with the URL at which the app was called back. */
async function authorize(url, changes = {}) {
  const { context, page } = await person(browser)
  await page.goto(url.href)
  await signIn(page)
  if (await page.$('#consent-allow')) await press(page, '#consent-allow')
  await page.waitForSelector('#app')
  const back = new URL(page.url())
  if (changes.keep) return { back, context, page }
  await context.close()
  return { back }
}

async function codeFlow(config, application, scope) {
  const pkceCodeVerifier = client.randomPKCECodeVerifier()
  const expectedState = client.randomState()
  const expectedNonce = client.randomNonce()
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: application.redirect_uri,
    scope,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    state: expectedState,
    nonce: expectedNonce,
  })
  const landed = await authorize(url, { keep: true })
  const tokens = await client.authorizationCodeGrant(config, landed.back, { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true })
  return { tokens, ...landed }
}

test('a confidential app: code, userinfo, refresh, introspection, revocation, end of session', async () => {
  for (const authentication of [client.ClientSecretPost(web.client_secret), client.ClientSecretBasic(web.client_secret)]) {
    const config = await discover(web.client_id, authentication)
    const { tokens, page, context } = await codeFlow(config, web, 'openid profile email phone address offline_access ai:chat')
    const claims = tokens.claims()
    assert.ok(claims.auth_time && claims.sid)
    const about = await client.fetchUserInfo(config, tokens.access_token, claims.sub)
    assert.equal(about.email, 'alice@example.org')
    assert.equal(about.address.locality, 'Oxford')

    const renewed = await client.refreshTokenGrant(config, tokens.refresh_token)
    assert.notEqual(renewed.refresh_token, tokens.refresh_token)
    assert.equal(renewed.claims().sub, claims.sub)

    const asking = await discover(resource_server.client_id, client.ClientSecretBasic(resource_server.client_secret))
    const known = await client.tokenIntrospection(asking, renewed.access_token)
    assert.equal(known.active, true)
    assert.equal(known.client_id, web.client_id)
    await client.tokenRevocation(config, renewed.refresh_token)
    assert.equal((await client.tokenIntrospection(asking, renewed.access_token)).active, false)
    await assert.rejects(client.refreshTokenGrant(config, renewed.refresh_token), { error: 'invalid_grant' })

    const end = client.buildEndSessionUrl(config, { id_token_hint: tokens.id_token, post_logout_redirect_uri: 'http://127.0.0.1:8080/', state: 'bye' })
    // The hint proves the session: no question is asked. What a navigation is redirected to is not intercepted, so the answer is read.
    const sent = await context.request.get(end.href, { maxRedirects: 0 })
    assert.equal(sent.status(), 303)
    assert.equal(sent.headers().location, 'http://127.0.0.1:8080/?state=bye')
    await page.goto(`${demo.issuer}/account`)
    await page.waitForSelector('#login-submit')
    await context.close()
  }
})

test('a public app: code with PKCE alone, and refresh', async () => {
  const config = await discover(spa.client_id, client.None())
  const { tokens, context } = await codeFlow(config, spa, 'openid profile offline_access ai:chat')
  const renewed = await client.refreshTokenGrant(config, tokens.refresh_token)
  assert.equal((await client.fetchUserInfo(config, renewed.access_token, tokens.claims().sub)).name, 'Alice Liddell')
  await context.close()
})

test('a machine: client credentials by both methods', async () => {
  for (const authentication of [client.ClientSecretPost(service.client_secret), client.ClientSecretBasic(service.client_secret)]) {
    const config = await discover(service.client_id, authentication)
    const tokens = await client.clientCredentialsGrant(config, { scope: 'ai:chat' })
    assert.equal(tokens.token_type, 'bearer')
    assert.ok(tokens.expiresIn() > 0)
  }
})

test('the console: the password grant', async () => {
  const config = await discover(admin.client_id, client.None())
  const tokens = await client.genericGrantRequest(config, 'password', { ...demo.users.admin, scope: 'openid profile offline_access admin' })
  assert.ok(tokens.refresh_token)
  await assert.rejects(client.genericGrantRequest(config, 'password', { username: 'alice', password: 'wrong' }), { error: 'invalid_grant' })
})
