// A standard client of OpenID Connect signs in against the real binary: everything that the client does is the library's, the
// browser is played by plain requests. Prints one JSON line with what was seen; fails by throwing.
import assert from "node:assert/strict";
import http from "node:http";
import { pathToFileURL } from "node:url";

const given = JSON.parse(process.env.OIDC_TEST);
const library = `${given.modules}/node_modules/openid-client/build/index.js`;
const client = await import(pathToFileURL(library).href);

// Names below `localhost` are this machine, whatever its resolver knows.
function ask(url, { method = "GET", headers = {}, body } = {}) {
  const target = new URL(url);
  return new Promise((resolve, reject) => {
    const request = http.request(
      { host: "127.0.0.1", port: target.port, method, path: target.pathname + target.search, headers: { ...headers, host: target.host } },
      (answer) => {
        const parts = [];
        answer.on("data", (part) => parts.push(part));
        answer.on("end", () => resolve({ status: answer.statusCode, headers: answer.headers, text: Buffer.concat(parts).toString() }));
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

async function fetchHere(url, options) {
  const headers = Object.fromEntries(new Headers(options.headers));
  const body = options.body == null ? undefined : String(options.body);
  if (body !== undefined) headers["content-length"] = String(Buffer.byteLength(body));
  const answer = await ask(url, { method: options.method, headers, body });
  const plain = Object.entries(answer.headers).filter(([, value]) => typeof value === "string");
  return new Response([204, 304].includes(answer.status) ? null : answer.text, { status: answer.status, headers: plain });
}

class Browser {
  cookies = new Map();

  async send(url, options = {}) {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const headers = { accept: "text/html", ...(cookie && { cookie }), ...options.headers };
    const answer = await ask(url, { ...options, headers });
    for (const line of answer.headers["set-cookie"] ?? []) {
      assert.match(line, /^__Host-[^=]+=[^;]*; Path=\/; Secure; HttpOnly; SameSite=Lax/);
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      if (/Max-Age=0/.test(line)) this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    return answer;
  }

  // Fills in the form of a page and sends it.
  async fill(page, typed) {
    const plain = (text) =>
      text.replaceAll("&quot;", '"').replaceAll("&#39;", "'").replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
    const form = new URLSearchParams();
    for (const [, name, value] of page.text.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)">/g)) {
      form.set(plain(name), plain(value));
    }
    for (const [name, value] of Object.entries(typed)) form.set(name, value);
    const action = plain(/<form method="post" action="([^"]*)">/.exec(page.text)[1]);
    const body = form.toString();
    return this.send(given.issuer + action, {
      method: "POST",
      headers: {
        "content-type": "application/x-www-form-urlencoded",
        "content-length": String(Buffer.byteLength(body)),
        origin: given.issuer,
      },
      body,
    });
  }
}

const config = await client.discovery(
  new URL(given.issuer),
  given.client_id,
  undefined,
  client.ClientSecretBasic(given.client_secret),
  { execute: [client.allowInsecureRequests], [client.customFetch]: fetchHere },
);
// The signature of id tokens is checked against the published keys as well.
client.enableNonRepudiationChecks(config);

async function begin(more = {}) {
  const verifier = client.randomPKCECodeVerifier();
  const state = client.randomState();
  const nonce = client.randomNonce();
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: given.redirect_uri,
    scope: "openid profile email offline_access",
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    state,
    nonce,
    ...more,
  });
  const checks = { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true };
  return { url, checks };
}

const back = (answer) => {
  assert.equal(answer.status, 303, answer.text);
  assert.ok(answer.headers.location.startsWith(`${given.redirect_uri}?`), answer.headers.location);
  return new URL(answer.headers.location);
};

const app = (tenant, token) =>
  ask(`http://${tenant}.localhost:${given.port}/`, { headers: { authorization: `Bearer ${token}` } });

// A wrong password first, then the right one.
const browser = new Browser();
const first = await begin({ max_age: "3600" });
const page = await browser.send(first.url);
assert.equal(page.status, 200, page.text);
assert.match(page.text, /Sign in to Dashboard/);
const wrong = await browser.fill(page, { email: given.email, password: "not the password" });
assert.equal(wrong.status, 401, wrong.text);
const callback = back(await browser.fill(wrong, { email: given.email, password: given.password }));
const tokens = await client.authorizationCodeGrant(config, callback, { ...first.checks, maxAge: 3600 });
const claims = tokens.claims();
assert.equal(claims.email, given.email);
assert.equal(claims.email_verified, true);
assert.equal(claims.tenant, given.tenant);
assert.equal(claims.role, "developer");
const person = await client.fetchUserInfo(config, tokens.access_token, claims.sub);
assert.equal(person.email, given.email);

// The access token is good at the gateway, for its own tenant alone.
const served = await app("acme", tokens.access_token);
assert.equal(served.status, 200, served.text);
const other = await app("beta", tokens.access_token);
assert.equal(other.status, 403, other.text);
const id = await app("acme", tokens.id_token);
const seen = { served: JSON.parse(served.text), id: id.status };

// Signed in silently, by the browser's cookie.
const silent = await begin({ prompt: "none" });
const again = await client.authorizationCodeGrant(config, back(await browser.send(silent.url)), silent.checks);
assert.equal(again.claims().sub, claims.sub);
assert.equal(again.claims().auth_time, claims.auth_time);

// A code twice: what came of it ends, at the gateway too, within a second or so.
const twice = await begin({ prompt: "none" });
const used = back(await browser.send(twice.url));
const ending = await client.authorizationCodeGrant(config, used, twice.checks);
assert.equal((await app("acme", ending.access_token)).status, 200);
await assert.rejects(client.authorizationCodeGrant(config, used, twice.checks), { error: "invalid_grant" });
const until = Date.now() + 10_000;
for (;;) {
  const answer = await app("acme", ending.access_token);
  if (answer.status === 401) break;
  assert.ok(Date.now() < until, `the token is still good: ${answer.status} ${answer.text}`);
  await new Promise((resolve) => setTimeout(resolve, 100));
}
await assert.rejects(client.fetchUserInfo(config, ending.access_token, claims.sub));

// Refresh tokens rotate; one used twice ends the family.
const second = await client.refreshTokenGrant(config, tokens.refresh_token);
assert.equal(second.claims().sub, claims.sub);
await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token), { error: "invalid_grant" });
await assert.rejects(client.refreshTokenGrant(config, second.refresh_token), { error: "invalid_grant" });

// Ending a token, and signing out.
await client.tokenRevocation(config, again.refresh_token);
await assert.rejects(client.refreshTokenGrant(config, again.refresh_token), { error: "invalid_grant" });
const bye = client.buildEndSessionUrl(config, {
  id_token_hint: again.id_token,
  post_logout_redirect_uri: given.logout_uri,
  state: "bye",
});
const out = await browser.send(bye);
assert.equal(out.headers.location, `${given.logout_uri}?state=bye`, out.text);
const nobody = await begin({ prompt: "none" });
const refused = back(await browser.send(nobody.url));
await assert.rejects(client.authorizationCodeGrant(config, refused, nobody.checks), { error: "login_required" });

console.log(JSON.stringify(seen));
