// oauth4webapi (npm): the machine's side of the protocol, every step checked by the library. It knows nothing but demo.json.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as oauth from 'oauth4webapi'
import { demo } from './support.mjs'

const plain = { [oauth.allowInsecureRequests]: true }
const issuer = new URL(demo.issuer)
const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, plain))
const { service, resource_server } = demo.clients

test('RFC 8414 metadata is the same document', async () => {
  const response = await oauth.discoveryRequest(issuer, { ...plain, algorithm: 'oauth2' })
  assert.deepEqual(await oauth.processDiscoveryResponse(issuer, response), as)
})

test('a machine gets a token by each secret method, bound to a DPoP key or not, and its resource server asks about it', async () => {
  for (const method of [oauth.ClientSecretBasic, oauth.ClientSecretPost]) {
    for (const bound of [false, true]) {
      const app = { client_id: service.client_id }
      const DPoP = bound ? oauth.DPoP(app, await oauth.generateKeyPair('ES256')) : undefined
      const response = await oauth.clientCredentialsGrantRequest(
        as, app, method(service.client_secret), { scope: 'ai:chat' }, { ...plain, DPoP })
      const tokens = await oauth.processClientCredentialsResponse(as, app, response)
      assert.equal(tokens.token_type, bound ? 'dpop' : 'bearer')

      const asking = { client_id: resource_server.client_id }
      const secret = oauth.ClientSecretBasic(resource_server.client_secret)
      const known = await oauth.processIntrospectionResponse(
        as, asking, await oauth.introspectionRequest(as, asking, secret, tokens.access_token, plain))
      assert.equal(known.active, true)
      assert.equal(known.client_id, service.client_id)
      if (bound) assert.ok(known.cnf.jkt)
      // The same as a signed answer (RFC 9701), with its signature checked.
      const answer = await oauth.introspectionRequest(
        as, asking, secret, tokens.access_token, { ...plain, requestJwtResponse: true })
      assert.equal(answer.headers.get('content-type'), 'application/token-introspection+jwt')
      const signed = await oauth.processIntrospectionResponse(as, asking, answer)
      assert.deepEqual(signed, known)
      await oauth.validateApplicationLevelSignature(as, answer, plain)
      await oauth.processRevocationResponse(
        await oauth.revocationRequest(as, app, method(service.client_secret), tokens.access_token, plain))
      const gone = await oauth.processIntrospectionResponse(
        as, asking, await oauth.introspectionRequest(as, asking, secret, tokens.access_token, plain))
      assert.equal(gone.active, false)
    }
  }
})

test('a client registers itself, reads, changes and removes its registration', async () => {
  const response = await oauth.dynamicClientRegistrationRequest(
    as, { redirect_uris: ['https://app.example/cb'], client_name: 'Registered', initiate_login_uri: 'https://app.example/start' }, plain)
  const registered = await oauth.processDynamicClientRegistrationResponse(response)
  const call = (method, body) => fetch(registered.registration_client_uri, {
    method,
    headers: { authorization: `Bearer ${registered.registration_access_token}`, ...(body && { 'content-type': 'application/json' }) },
    body: body && JSON.stringify(body),
  })
  const read = await (await call('GET')).json()
  assert.equal(read.initiate_login_uri, 'https://app.example/start')
  const changed = await call('PUT', { client_id: registered.client_id, redirect_uris: ['https://app.example/other'], client_name: 'Changed' })
  assert.equal((await changed.json()).client_name, 'Changed')
  assert.equal((await call('DELETE')).status, 204)
  assert.equal((await call('GET')).status, 401)
})

test('errors are the ones that the library has types for', async () => {
  const app = { client_id: service.client_id }
  const wrong = await oauth.clientCredentialsGrantRequest(as, app, oauth.ClientSecretBasic('wrong'), {}, plain)
  await assert.rejects(oauth.processClientCredentialsResponse(as, app, wrong), (error) => {
    assert.ok(error instanceof oauth.WWWAuthenticateChallengeError || error.error === 'invalid_client')
    return true
  })
  const scope = await oauth.clientCredentialsGrantRequest(as, app, oauth.ClientSecretBasic(service.client_secret), { scope: 'admin' }, plain)
  await assert.rejects(oauth.processClientCredentialsResponse(as, app, scope), { error: 'invalid_scope', status: 400 })
})
