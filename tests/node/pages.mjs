// The provider's pages in Chromium, with scripts and without, as a person meets them.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { answer, authorizationUrl, demo, launch, person, press, signIn } from './support.mjs'

const { web, spa } = demo.clients
const { alice } = demo.users

let browser
before(async () => { browser = await launch() })
after(() => browser.close())

/** Runs a test twice, and holds it to a clean console. */
function everywhere(name, work, options = {}) {
  for (const javaScriptEnabled of [true, false]) {
    test(`${name}, scripts ${javaScriptEnabled ? 'on' : 'off'}`, async () => {
      const someone = await person(browser, { javaScriptEnabled, ...options })
      try {
        await work({ ...someone, scripts: javaScriptEnabled })
        assert.deepEqual(someone.problems.filter((text) => !(options.expected ?? /^$/).test(text)), [], 'the console is clean')
      } finally {
        await someone.context.close()
      }
    })
  }
}

everywhere('sign-in and consent lead back to the app with a code', async ({ page }) => {
  const asked = authorizationUrl(web, 'openid profile email ai:chat', { prompt: 'consent' })
  await page.goto(asked.url)
  assert.equal(new URL(page.url()).pathname, '/login')
  assert.match(await page.textContent('h1'), /sign in/i)
  await signIn(page)
  assert.match(new URL(page.url()).pathname, /^\/consent/)
  assert.match(await page.textContent('main'), /Demo web app/)
  await press(page, '#consent-allow')
  await page.waitForSelector('#app')
  assert.equal(answer(page, web).get('state'), asked.state)
  assert.ok(answer(page, web).get('code'))
})

everywhere('the Enter key signs in', async ({ page }) => {
  await page.goto(authorizationUrl(spa, 'openid', { prompt: 'consent' }).url)
  await page.fill('#username', alice.username)
  await page.fill('#password', alice.password)
  await page.press('#password', 'Enter')
  await page.waitForSelector('#consent-allow')
})

everywhere('a wrong password is said plainly and the name stays', async ({ page }) => {
  await page.goto(authorizationUrl(spa, 'openid').url)
  await signIn(page, alice, 'not it')
  assert.ok(await page.isVisible('[role=alert]'))
  assert.equal(await page.inputValue('#username'), alice.username)
  assert.equal(await page.inputValue('#password'), '')
  await signIn(page)
  await page.waitForSelector('#consent-allow, #app')
}, { expected: /Failed to load resource: the server responded with a status of 4\d\d/ })

everywhere('cancelling the sign-in tells the app', async ({ page }) => {
  await page.goto(authorizationUrl(web, 'openid').url)
  await press(page, '#login-cancel')
  await page.waitForSelector('#app')
  assert.equal(answer(page, web).get('error'), 'access_denied')
})

everywhere('denying consent tells the app', async ({ page }) => {
  await page.goto(authorizationUrl(web, 'openid', { prompt: 'consent' }).url)
  await signIn(page)
  await press(page, '#consent-deny')
  await page.waitForSelector('#app')
  assert.equal(answer(page, web).get('error'), 'access_denied')
})

everywhere('form_post arrives as a POST with nothing in the URL', async ({ page, arrived, scripts }) => {
  const asked = authorizationUrl(web, 'openid', { response_mode: 'form_post', prompt: 'consent' })
  await page.goto(asked.url)
  await signIn(page)
  await press(page, '#consent-allow')
  if (!scripts) await press(page, 'main button[type=submit]')
  await page.waitForSelector('#app')
  const post = arrived.find((request) => request.method === 'POST')
  assert.equal(post.url, web.redirect_uri)
  const body = new URLSearchParams(post.body)
  assert.equal(body.get('state'), asked.state)
  assert.equal(body.get('iss'), demo.issuer)
  assert.ok(body.get('code'))
})

everywhere('the account page lists sessions and apps, disconnects an app and signs out', async ({ page }) => {
  await page.goto(authorizationUrl(web, 'openid profile', { prompt: 'consent' }).url)
  await signIn(page)
  await press(page, '#consent-allow')
  await page.waitForSelector('#app')
  await page.goto(`${demo.issuer}/account`)
  assert.match(await page.textContent('main'), /Alice Liddell/)
  assert.match(await page.textContent('main'), /Demo web app/)
  assert.ok((await page.$$('button[value=end-session]')).length >= 1)
  const row = page.locator('li.row', { hasText: 'Demo web app' })
  await row.locator('button[value=remove-app]').click()
  await row.waitFor({ state: 'detached' })
  await press(page, 'a[href$="/logout"]')
  await press(page, '#logout-cancel')
  await page.goto(`${demo.issuer}/logout`)
  await press(page, '#logout-confirm')
  await page.waitForSelector('#logged-out')
  await page.goto(`${demo.issuer}/account`)
  await page.waitForSelector('#login-submit')
})

everywhere('an error page names the parameter and goes nowhere', async ({ page }) => {
  await page.goto(authorizationUrl(web, 'openid', { redirect_uri: 'https://evil.example/' }).url)
  assert.match(await page.textContent('#oauth-error'), /redirect_uri/)
  assert.equal(new URL(page.url()).origin, demo.issuer)
}, { expected: /status of 400/ })

everywhere('Chinese by the browser’s language', async ({ page }) => {
  await page.goto(authorizationUrl(web, 'openid').url)
  assert.match(await page.getAttribute('html', 'lang'), /^zh/)
  assert.match(await page.textContent('h1'), /登录/)
}, { locale: 'zh-CN' })

everywhere('Chinese by the app’s ui_locales, through to consent', async ({ page }) => {
  await page.goto(authorizationUrl(web, 'openid profile', { ui_locales: 'zh', prompt: 'consent' }).url)
  assert.match(await page.textContent('h1'), /登录/)
  await signIn(page)
  assert.match(await page.getAttribute('html', 'lang'), /^zh/)
  assert.match(await page.textContent('#consent-allow'), /\p{Script=Han}/u)
})

for (const [name, options] of Object.entries({
  'a small phone': { viewport: { width: 320, height: 568 } },
  'a small phone in the dark': { viewport: { width: 320, height: 568 }, colorScheme: 'dark' },
  'a wide screen': { viewport: { width: 1920, height: 1080 } },
})) {
  test(`nothing sticks out on ${name}`, async () => {
    const { context, page, problems } = await person(browser, options)
    const fits = async () => {
      const { scroll, client } = await page.evaluate(() => ({ scroll: document.documentElement.scrollWidth, client: document.documentElement.clientWidth }))
      assert.ok(scroll <= client, `${page.url()} is ${scroll} wide on ${client}`)
      const [ink, paper] = await page.evaluate(() => {
        const luminance = (colour) => {
          const [r, g, b] = colour.match(/[\d.]+/g).map(Number)
          return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255
        }
        const card = document.querySelector('main')
        let surface = card
        while (surface && /rgba\(0, 0, 0, 0\)|transparent/.test(getComputedStyle(surface).backgroundColor)) surface = surface.parentElement
        return [luminance(getComputedStyle(document.querySelector('h1')).color), surface ? luminance(getComputedStyle(surface).backgroundColor) : 1]
      })
      assert.ok(options.colorScheme === 'dark' ? ink > paper : ink < paper, `ink ${ink} on ${paper} at ${page.url()}`)
    }
    await page.goto(authorizationUrl(web, 'openid profile email phone address offline_access ai:chat ai:embeddings', { prompt: 'consent' }).url)
    await fits()
    await signIn(page)
    await fits()
    await page.goto(`${demo.issuer}/account`)
    await fits()
    await page.goto(`${demo.issuer}/logout`)
    await fits()
    assert.deepEqual(problems, [])
    await context.close()
  })
}

test('the pages cannot be framed and need no script', async () => {
  const { context, page } = await person(browser)
  await context.unrouteAll()
  await context.route('https://framing.example/', (route) =>
    route.fulfill({ contentType: 'text/html', body: `<iframe id="f" src="${demo.issuer}/account"></iframe>` }))
  await page.goto('https://framing.example/')
  await page.waitForLoadState('networkidle')
  const frame = page.frames()[1]
  assert.equal(await frame?.$('#login-submit') ?? null, null)
  await context.close()
})
