// A provider of OpenID Connect by the package `oidc-provider`, as a team would run it: people `ada` and `eve`, a client for
// Switchyard's sign-in, and one whose access tokens are for the app. Prints its address when it listens.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

const [modules, callback] = process.argv.slice(2);
const { Provider } = await import(pathToFileURL(`${modules}/node_modules/oidc-provider/lib/index.js`).href);

const key = (kid, alg, type, options) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), kid, alg, use: 'sig',
});
const people = {
  ada: { email: 'ada@acme.example', email_verified: true, name: 'Ada', tenant: 'acme', role: 'developer' },
  eve: { email: 'ada@acme.example', email_verified: false, name: 'Eve', tenant: 'globex', role: 'owner' },
};
const audience = 'https://api.example.com';
const client = (client_id, secret, redirect) => ({
  client_id, client_secret: secret, redirect_uris: [redirect],
  grant_types: ['authorization_code'], response_types: ['code'],
});
const configuration = {
  jwks: { keys: [key('rsa', 'RS256', 'rsa', { modulusLength: 2048 }), key('ec', 'ES256', 'ec', { namedCurve: 'P-256' })] },
  clients: [client('switchyard', 'a secret: of sorts', callback), client('app', 'app secret', 'http://localhost:9/back')],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
  cookies: { keys: ['a key for the cookies of a test'] },
  pkce: { required: () => true },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
  extraTokenClaims: (_, token) => ({ tenant: people[token.accountId].tenant, role: people[token.accountId].role }),
  features: {
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: (ctx, { clientId }) => (clientId === 'app' || ctx.oidc?.client?.clientId === 'app' ? audience : undefined),
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: 'use', audience, accessTokenTTL: 600, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
};

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  provider.on('server_error', (_, error) => console.error(error));
  server.on('request', provider.callback());
  console.log(issuer);
});
