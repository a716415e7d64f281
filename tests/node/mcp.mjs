// The Model Context Protocol's TypeScript SDK as a client of an MCP server that trusts this provider, which it finds, registers with
// and signs in at by itself. It knows nothing but demo.json.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import { auth } from '@modelcontextprotocol/sdk/client/auth.js'
import { demo, launch, person, press, signIn } from './support.mjs'

let browser, server, url
before(async () => {
  browser = await launch()
  // The MCP server, as far as it matters here: it says who issues its tokens (RFC 9728).
  server = createServer((request, response) => {
    const known = request.url.startsWith('/.well-known/oauth-protected-resource')
    response.writeHead(known ? 200 : 404, { 'content-type': 'application/json' })
    response.end(known ? JSON.stringify({ resource: `${url}/mcp`, authorization_servers: [demo.issuer], scopes_supported: ['openid', 'profile', 'offline_access'] }) : '{}')
  })
  await new Promise((ready) => server.listen(Number(process.env.HEXGATE_MCP_PORT ?? 0), '127.0.0.1', ready))
  url = `http://127.0.0.1:${server.address().port}`
})
after(async () => { await browser.close(); server.close() })

test('an MCP client finds the provider, registers, signs in and refreshes', async () => {
  const kept = {}
  const provider = {
    get redirectUrl() { return 'http://127.0.0.1:33418/callback' },
    get clientMetadata() {
      return { client_name: 'MCP client', redirect_uris: [this.redirectUrl], grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], token_endpoint_auth_method: 'none', application_type: 'native' }
    },
    state: () => 'mcp-state',
    clientInformation: () => kept.client,
    saveClientInformation: (client) => { kept.client = client },
    tokens: () => kept.tokens,
    saveTokens: (tokens) => { kept.tokens = tokens },
    redirectToAuthorization: (target) => { kept.target = target },
    saveCodeVerifier: (verifier) => { kept.verifier = verifier },
    codeVerifier: () => kept.verifier,
  }
  assert.equal(await auth(provider, { serverUrl: `${url}/mcp` }), 'REDIRECT')
  assert.equal(kept.target.searchParams.get('resource'), `${url}/mcp`)
  const { context, page } = await person(browser)
  await page.goto(kept.target.href)
  await signIn(page)
  await press(page, '#consent-allow')
  await page.waitForSelector('#app')
  const back = new URL(page.url())
  await context.close()
  assert.equal(await auth(provider, { serverUrl: `${url}/mcp`, authorizationCode: back.searchParams.get('code') }), 'AUTHORIZED')
  const claims = JSON.parse(Buffer.from(kept.tokens.access_token.split('.')[1], 'base64url'))
  assert.ok([claims.aud].flat().includes(`${url}/mcp`), `for ${claims.aud}`)
  const first = kept.tokens.access_token
  assert.equal(await auth(provider, { serverUrl: `${url}/mcp` }), 'AUTHORIZED')
  assert.notEqual(kept.tokens.access_token, first)
})
