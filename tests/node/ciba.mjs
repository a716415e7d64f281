// openid-client (npm) as an application that registers itself and asks a person from elsewhere (CIBA). It knows nothing but demo.json.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as client from 'openid-client'
import { demo, launch, person, press, signIn } from './support.mjs'

const GRANT = 'urn:openid:params:grant-type:ciba'
let browser
before(async () => { browser = await launch() })
after(() => browser.close())

function register() {
  return client.dynamicClientRegistration(
    new URL(demo.issuer),
    {
      client_name: 'Counter',
      redirect_uris: [],
      grant_types: [GRANT, 'refresh_token'],
      response_types: [],
      scope: 'openid profile',
      token_endpoint_auth_method: 'client_secret_basic',
      backchannel_token_delivery_mode: 'poll',
    },
    undefined,
    { execute: [client.allowInsecureRequests] },
  )
}

function ask(config, message) {
  const parameters = { scope: 'openid profile', login_hint: demo.users.alice.username, binding_message: message }
  return client.initiateBackchannelAuthentication(config, parameters)
}

/** The person finds the request on their account page and presses a button. */
async function answer(message, button) {
  const { context, page, problems } = await person(browser)
  await page.goto(`${demo.issuer}/login`)
  await signIn(page)
  await press(page, `li:has-text("${message}") a`)
  assert.equal(await page.textContent('#binding-message'), message)
  await press(page, button)
  assert.ok(await page.isVisible('#approve-done'))
  assert.deepEqual(problems, [])
  await context.close()
}

test('an application polls while the person decides, and gets tokens bound to its key', async () => {
  const config = await register()
  const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'))
  const asked = await ask(config, 'Counter 3 W4SCT')
  assert.ok(asked.expires_in > 0 && asked.interval > 0)
  const polling = client.pollBackchannelAuthenticationGrant(config, asked, undefined, { DPoP })
  await answer('Counter 3 W4SCT', '#approve-allow')
  const tokens = await polling
  assert.equal(tokens.token_type, 'dpop')
  const { sub } = tokens.claims()
  const info = await client.fetchUserInfo(config, tokens.access_token, sub, { DPoP })
  assert.equal(info.sub, sub)
  const again = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP })
  assert.equal(again.token_type, 'dpop')
})

test('an application is told of a no', async () => {
  const config = await register()
  const asked = await ask(config, 'Counter 4 J8KLM')
  const polling = assert.rejects(
    client.pollBackchannelAuthenticationGrant(config, asked),
    (error) => error.error === 'access_denied',
  )
  await answer('Counter 4 J8KLM', '#approve-deny')
  await polling
})
