// What `bench tokens` measures ours beside: jsonwebtoken in a loop, and express with a middleware that checks tokens or keys.
//
//   node tokens.mjs loop SECONDS              one line of JSON: checks a second of each kind
//   node tokens.mjs serve PORT FILE           listens; writes a token and a key to FILE
import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import express from "express";
import jwt from "jsonwebtoken";

const claims = (user) => ({
  iss: "peer",
  aud: "peer",
  sub: `usr_${user}`,
  tenant: "ten_01h455vb4pex5vsknk084sn02q",
  role: "developer",
  email: `user${user}@example.com`,
});

const pairs = {
  ES256: generateKeyPairSync("ec", { namedCurve: "P-256" }),
  RS256: generateKeyPairSync("rsa", { modulusLength: 2048 }),
};

const sign = (algorithm, user) =>
  jwt.sign(claims(user), pairs[algorithm].privateKey, { algorithm, expiresIn: "1h", keyid: "one" });

const verify = (algorithm, token) =>
  jwt.verify(token, pairs[algorithm].publicKey, { algorithms: [algorithm], issuer: "peer", audience: "peer" });

const hash = (text) => createHash("sha256").update(text).digest("base64");

function newKeys(count) {
  const keys = Array.from({ length: count }, () => `peer_${randomBytes(32).toString("base64url")}`);
  return { keys, known: new Map(keys.map((key) => [hash(key), { tenant: "acme", role: "developer" }])) };
}

function rate(seconds, check) {
  const until = performance.now() + seconds * 1000;
  const began = performance.now();
  let count = 0;
  while (performance.now() < until) {
    for (let step = 0; step < 100; step += 1) check(count + step);
    count += 100;
  }
  return (count * 1000) / (performance.now() - began);
}

function loop(seconds) {
  const found = {};
  for (const algorithm of ["ES256", "RS256"]) {
    const tokens = Array.from({ length: 1000 }, (_, user) => sign(algorithm, user));
    found[algorithm] = rate(seconds, (step) => verify(algorithm, tokens[step % tokens.length]));
  }
  const { keys, known } = newKeys(1000);
  found.key = rate(seconds, (step) => {
    if (!known.get(hash(keys[step % keys.length]))) throw new Error("an unknown key");
  });
  process.stdout.write(`${JSON.stringify(found)}\n`);
}

function serve(port, file) {
  const { keys, known } = newKeys(1000);
  const app = express();
  app.disable("x-powered-by");
  app.use((request, response, next) => {
    const credential = request.headers.authorization?.replace(/^Bearer /, "") ?? "";
    try {
      request.caller = credential.startsWith("peer_") ? known.get(hash(credential)) : verify("ES256", credential);
    } catch {
      request.caller = undefined;
    }
    if (!request.caller) return response.status(401).json({ code: "unauthenticated" });
    return next();
  });
  app.get("/api/v1/me", (request, response) => response.json(request.caller));
  app.listen(Number(port), "127.0.0.1", () => {
    writeFileSync(file, JSON.stringify({ token: sign("ES256", 1), key: keys[0] }));
  });
}

const [mode, ...rest] = process.argv.slice(2);
if (mode === "loop") loop(Number(rest[0]));
else if (mode === "serve") serve(rest[0], rest[1]);
else throw new Error("loop or serve is expected");
