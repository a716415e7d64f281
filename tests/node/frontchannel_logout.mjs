// Front-channel logout in Chromium: the frames of two applications, and what becomes of the page that they are in.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import { authorizationUrl, demo, launch, press, signIn } from './support.mjs'

const { mail, photos } = demo.clients
const origin = (app) => new URL(app.redirect_uri).origin
const bye = `${origin(mail)}/bye`

let browser
const servers = []
/** What the frame of an application does: how it is answered, or 'hang'. */
let answer
/** Which addresses of applications were asked for, in order. */
let visits

before(async () => {
  browser = await launch()
  for (const app of [mail, photos]) {
    const server = createServer((request, response) => {
      const url = new URL(request.url, origin(app))
      if (url.pathname === '/favicon.ico') return response.writeHead(204).end()
      visits.push(url)
      const { status = 200, headers = {}, body = '<title>The app</title><p id="app">The app</p>', hang } = url.pathname === '/out' ? answer(app) : {}
      if (!hang) response.writeHead(status, { 'content-type': 'text/html', ...headers }).end(body)
    })
    servers.push(server)
    await new Promise((resolve) => server.listen(Number(new URL(origin(app)).port), '127.0.0.1', resolve))
  }
})
after(async () => {
  await browser.close()
  for (const server of servers) {
    server.closeAllConnections()
    server.close()
  }
})

/** A person who is signed in to both applications. */
async function someone(frames = () => ({}), options = {}) {
  answer = frames
  visits = []
  const context = await browser.newContext({ locale: 'en-GB', ...options })
  const page = await context.newPage()
  const problems = []
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()))
  page.on('pageerror', (error) => problems.push(String(error)))
  const asked = authorizationUrl(mail, 'openid')
  await page.goto(asked.url)
  await signIn(page)
  const code = new URL(page.url()).searchParams.get('code')
  await page.goto(authorizationUrl(photos, 'openid').url)
  assert.ok(new URL(page.url()).searchParams.get('code'), page.url())
  visits = []
  return { context, page, problems, hint: await idToken(code, asked) }
}

/** The application redeems its code. */
async function idToken(code, asked) {
  const response = await fetch(`${demo.issuer}/oauth2/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${mail.client_id}:${mail.client_secret}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'authorization_code', code, redirect_uri: mail.redirect_uri, code_verifier: asked.verifier }),
  })
  const tokens = await response.json()
  assert.equal(response.status, 200, JSON.stringify(tokens))
  return tokens.id_token
}

function endSession(hint) {
  const url = new URL(`${demo.issuer}/connect/logout`)
  const parameters = { id_token_hint: hint, post_logout_redirect_uri: bye, state: 'back' }
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
  return url.href
}

function sid(token) {
  return JSON.parse(Buffer.from(token.split('.')[1], 'base64url')).sid
}

const paths = () => visits.map((url) => `${url.origin === origin(mail) ? 'mail' : 'photos'}${url.pathname}`)

test('every frame is loaded, and then the person is sent back', async () => {
  const { context, page, problems, hint } = await someone()
  await page.goto(endSession(hint))
  await page.waitForURL(`${bye}?state=back`)
  assert.deepEqual(paths().slice(0, 2).sort(), ['mail/out', 'photos/out'])
  assert.equal(paths()[2], 'mail/bye', 'the redirect comes after the frames')
  for (const app of [mail, photos]) {
    const frame = visits.find((url) => url.origin === origin(app))
    assert.equal(frame.searchParams.get('tenant'), app === mail ? '1' : null)
    assert.equal(frame.searchParams.get('iss'), demo.issuer)
    assert.equal(frame.searchParams.get('sid'), sid(hint))
  }
  assert.deepEqual(problems, [], 'the console is clean')
  await context.close()
})

test('a frame that never answers holds the person up for seconds at most', async () => {
  const { context, page, hint } = await someone((app) => ({ hang: app === photos }))
  const begun = Date.now()
  await page.goto(endSession(hint), { waitUntil: 'commit' })
  await page.waitForURL(`${bye}?state=back`)
  assert.ok(Date.now() - begun < 10000, `${Date.now() - begun} ms`)
  assert.ok(paths().includes('mail/out'))
  await context.close()
})

test('a frame that may not be framed, or that fails, holds nobody up', async () => {
  const { context, page, hint } = await someone((app) =>
    app === photos ? { headers: { 'x-frame-options': 'DENY' } } : { status: 500, body: '' })
  await page.goto(endSession(hint))
  await page.waitForURL(`${bye}?state=back`)
  await context.close()
})

test('a frame cannot lead the person elsewhere, and may run its own scripts', async () => {
  const body = "<script>try { top.location = '/phish' } catch {} fetch('/ran')</script>"
  const { context, page, hint } = await someone((app) => (app === photos ? { body } : {}))
  await page.goto(endSession(hint))
  await page.waitForURL(`${bye}?state=back`)
  assert.ok(paths().includes('photos/ran'), 'its script ran')
  assert.ok(!paths().some((path) => path.endsWith('/phish')), paths().join(' '))
  await context.close()
})

test('without scripts the frames are loaded all the same, and a link leads on', async () => {
  const { context, page, problems, hint } = await someone(undefined, { javaScriptEnabled: false })
  await page.goto(endSession(hint))
  await page.waitForSelector('#logged-out')
  assert.deepEqual(paths().sort(), ['mail/out', 'photos/out'])
  await press(page, '#logout-continue')
  assert.equal(page.url(), `${bye}?state=back`)
  assert.deepEqual(problems, [])
  await context.close()
})

test('who logs out on their own stays on the page that says so', async () => {
  const { context, page, problems } = await someone()
  await page.goto(`${demo.issuer}/logout`)
  await press(page, '#logout-confirm')
  await page.waitForSelector('#logged-out')
  await page.waitForLoadState('networkidle')
  assert.deepEqual(paths().sort(), ['mail/out', 'photos/out'])
  assert.equal(new URL(page.url()).pathname, '/logged-out')
  assert.deepEqual(problems, [])
  await context.close()
})
