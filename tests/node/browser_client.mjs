// oidc-client-ts (npm) in Chromium: a single-page app of another origin, from sign-in to sign-out. It knows nothing but demo.json.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { after, before, test } from 'node:test'
import { demo, launch, press, signIn } from './support.mjs'

const library = readFileSync(createRequire(import.meta.url).resolve('oidc-client-ts').replace(/umd.*|esm.*/, 'browser/oidc-client-ts.min.js'), 'utf8')
let browser, server, origin, html
before(async () => {
  browser = await launch()
  // Any port will do for an app on the person's own machine (RFC 8252 §7.3).
  server = createServer((_, response) => response.setHeader('content-type', 'text/html').end(html))
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready))
  origin = `http://127.0.0.1:${server.address().port}`
})
after(async () => { await browser.close(); server.close() })

/** The app: a page with the library, at whatever path of its origin. */
async function app(settings = {}) {
  html = `<!doctype html><title>SPA</title><link rel="icon" href="data:,"><p id="app">The app</p><script>${library}</script><script>
    const settings = ${JSON.stringify({
      authority: demo.issuer,
      client_id: demo.clients.spa.client_id,
      redirect_uri: `${origin}/callback`,
      scope: 'openid profile offline_access',
      loadUserInfo: true,
      automaticSilentRenew: false,
      ...settings,
    })}
    if (settings.dpop) settings.dpop.store = new oidc.IndexedDbDPoPStore()
    window.manager = new oidc.UserManager(settings)</script>`
  const context = await browser.newContext({ locale: 'en-GB' })
  const page = await context.newPage()
  const problems = []
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()))
  return { context, page, problems }
}

async function signedIn(settings) {
  const world = await app(settings)
  await world.page.goto(`${origin}/`)
  await Promise.all([world.page.waitForURL(`${demo.issuer}/**`), world.page.evaluate(() => { window.manager.signinRedirect() })])
  await signIn(world.page)
  if (await world.page.$('#consent-allow')) await press(world.page, '#consent-allow')
  await world.page.waitForSelector('#app')
  const user = await world.page.evaluate(() => window.manager.signinRedirectCallback().then((user) => ({ ...user, profile: user.profile })))
  return { ...world, user }
}

test('sign in, userinfo, refresh, revoke, sign out', async () => {
  const { context, page, problems, user } = await signedIn()
  assert.equal(user.profile.name, 'Alice Liddell')
  const renewed = await page.evaluate(() => window.manager.signinSilent().then((user) => ({ access_token: user.access_token, sub: user.profile.sub })))
  assert.notEqual(renewed.access_token, user.access_token)
  assert.equal(renewed.sub, user.profile.sub)
  await page.evaluate(() => window.manager.revokeTokens(['access_token', 'refresh_token']))
  await Promise.all([page.waitForSelector('#logged-out, #logout-confirm'), page.evaluate(() => { window.manager.signoutRedirect() })])
  if (await page.$('#logout-confirm')) await press(page, '#logout-confirm')
  assert.ok(await page.$('#logged-out'))
  assert.deepEqual(problems, [])
  await context.close()
})

test('DPoP keys that never leave the browser', async () => {
  // The library asks userinfo with the scheme Bearer, whatever the token; so the app asks itself.
  const { context, page, problems, user } = await signedIn({ dpop: { bind_authorization_code: true }, loadUserInfo: false })
  assert.equal(user.token_type, 'DPoP')
  const about = await page.evaluate(async (url) => {
    const user = await window.manager.getUser()
    const headers = { authorization: `DPoP ${user.access_token}`, dpop: await window.manager.dpopProof(url, user) }
    return (await fetch(url, { headers })).json()
  }, `${demo.issuer}/userinfo`)
  assert.equal(about.name, 'Alice Liddell')
  const renewed = await page.evaluate(() => window.manager.signinSilent().then((user) => user.token_type))
  assert.equal(renewed, 'DPoP')
  assert.deepEqual(problems, [])
  await context.close()
})
