// What the scripts share: the demo file, a browser, and a person who answers its pages.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { chromium } from 'playwright-core'

export const demo = JSON.parse(readFileSync(process.env.HEXGATE_DEMO, 'utf8'))

/** Starts Chromium; as root it has no sandbox. Pages that a test answers itself come from no address, so they may call every one. */
export function launch() {
  return chromium.launch({
    executablePath: process.env.HEXGATE_CHROMIUM,
    args: [...(process.getuid() === 0 ? ['--no-sandbox'] : []), '--disable-dev-shm-usage', '--no-proxy-server', '--disable-features=LocalNetworkAccessChecks'],
  })
}

/**
 * A person's browser. Requests to the apps' redirect URIs are answered here, for no app listens, and kept in `arrived`.
 * `problems` collects what the console calls an error: blocked by the policy, failed, thrown.
 */
export async function person(browser, options = {}) {
  const context = await browser.newContext({ locale: 'en-GB', ...options })
  const arrived = []
  await context.route(
    (url) => url.origin !== demo.issuer,
    (route) => {
      const request = route.request()
      arrived.push({ url: request.url(), method: request.method(), body: request.postData() })
      return route.fulfill({ status: 200, contentType: 'text/html', body: '<title>The app</title><p id="app">The app</p>' })
    },
  )
  const page = await context.newPage()
  const problems = []
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()))
  page.on('pageerror', (error) => problems.push(String(error)))
  return { context, page, arrived, problems }
}

/** Presses a button that leads to another page, and waits until that is there. */
export async function press(page, button) {
  await Promise.all([page.waitForEvent('framenavigated'), page.click(button)])
  await page.waitForLoadState()
}

export async function signIn(page, user = demo.users.alice, password = user.password) {
  await page.fill('#username', user.username)
  await page.fill('#password', password)
  await press(page, '#login-submit')
}

/** An authorization URL of a demo client, with changes to its parameters. */
export function authorizationUrl(client, scope, changes = {}) {
  const verifier = randomBytes(32).toString('base64url')
  const url = new URL(`${demo.issuer}/oauth2/authorize`)
  const parameters = {
    response_type: 'code',
    client_id: client.client_id,
    redirect_uri: client.redirect_uri,
    scope,
    state: randomBytes(8).toString('hex'),
    nonce: randomBytes(8).toString('hex'),
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...changes,
  }
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
  return { url: url.href, verifier, ...parameters }
}

/** The parameters that came back to the app. */
export function answer(page, client) {
  const url = new URL(page.url())
  assert.equal(url.origin + url.pathname, client.redirect_uri, `still at ${page.url()}`)
  assert.equal(url.searchParams.get('iss'), demo.issuer)
  return url.searchParams
}
