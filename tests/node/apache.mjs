// mod_auth_openidc (Debian) behind Apache: a relying party in C, its sign-in, its logout, and the logout that it is told of. It knows
// nothing but demo.json and the Apache's address.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { demo, launch, press, signIn } from './support.mjs'

const site = process.env.HEXGATE_APACHE
let browser
before(async () => { browser = await launch() })
after(() => browser.close())

async function visit(page) {
  const response = await page.goto(`${site}/protected/`)
  if (await page.$('#username')) {
    await signIn(page)
    if (await page.$('#consent-allow')) await press(page, '#consent-allow')
  }
  return response
}

async function isInside(page) {
  await page.waitForSelector('#inside')
  const response = await page.goto(`${site}/protected/`)
  assert.equal(response.headers()['x-user'], 'alice')
}

const isOutside = async (page) => {
  await page.goto(`${site}/protected/`)
  assert.ok(page.url().startsWith(`${demo.issuer}/`), page.url())
}

test('it signs a person in and out, at the provider too', async () => {
  const context = await browser.newContext({ locale: 'en-GB' })
  const page = await context.newPage()
  await visit(page)
  await isInside(page)
  await page.goto(`${site}/protected/callback?logout=${encodeURIComponent(`${site}/bye.html`)}`)
  if (await page.$('#logout-confirm')) await press(page, '#logout-confirm')
  await page.waitForSelector('#bye')
  await page.goto(`${demo.issuer}/account`)
  assert.ok(await page.$('#username'), 'still signed in at the provider')
  await context.close()
})

test('it is told when the person signs out at the provider', async () => {
  const context = await browser.newContext({ locale: 'en-GB' })
  const page = await context.newPage()
  await visit(page)
  await isInside(page)
  await page.goto(`${demo.issuer}/logout`)
  await press(page, '#logout-confirm')
  await page.waitForSelector('#logged-out')
  await isOutside(page)
  await context.close()
})
