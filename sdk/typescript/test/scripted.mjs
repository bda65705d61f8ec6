// A server that answers as Switchyard does, in memory, and fails on demand: a lost answer or a lease that is taken away cannot be
// had from the real one at will. The tests in `real/` run against the real one.
import { createServer } from 'node:http';

const problem = (status, code, detail, more = {}) => [status, { type: code, title: code, status, code, detail, ...more }];

export class Scripted {
  jobs = new Map();
  calls = [];
  connections = 0;
  /** Called before each answer; may return 'lose' (work, then cut the line) or an answer `[status, body, headers]`. */
  onCall = () => undefined;
  events = [];
  children = new Map();
  #streams = new Set();
  #replies = new Map();
  #waiting = [];
  #number = 0;

  async start() {
    this.server = createServer((request, response) => this.#receive(request, response));
    this.server.on('connection', () => { this.connections += 1; });
    await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  paths(end) {
    return this.calls.filter((call) => call.path.endsWith(end));
  }

  tell(kind, data = {}) {
    const id = this.events.length + 1;
    const text = `id: ${id}\nevent: ${kind}\ndata: ${JSON.stringify({ seq: id, kind, ...data })}\n\n`;
    this.events.push(text);
    for (const stream of this.#streams) stream.write(text);
  }

  breakStreams() {
    for (const stream of this.#streams) stream.socket.destroy();
    this.#streams.clear();
  }

  add(queue, body) {
    const id = `job_${String(++this.#number).padStart(26, '0')}`;
    const { children = [], ...rest } = body;
    const job = {
      id, tenant: 'ten_1', priority: 5, attempt: 0, attempts: 3, created_at: new Date(0).toISOString(), status: 'waiting',
      ...rest, queue: body.queue ?? queue,
    };
    this.jobs.set(id, job);
    this.children.set(id, children.map((child) => this.add(child.queue, child)));
    this.#wake();
    return job;
  }

  #wake() {
    this.#waiting.splice(0).forEach((look) => look());
  }

  async #receive(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    const url = new URL(request.url, 'http://x');
    const call = { method: request.method, path: url.pathname, query: url.searchParams, headers: request.headers };
    call.body = text === '' ? undefined : JSON.parse(text);
    this.calls.push(call);
    const [, , , kind, name, verb] = url.pathname.split('/');
    if (verb === 'events') return this.#stream(request, response);
    const wish = this.onCall(call, this.calls.length);
    if (wish === 'refuse') return request.socket.destroy();
    const key = request.headers['idempotency-key'];
    let answer = Array.isArray(wish) ? wish : key && this.#replies.get(key);
    call.isGone = () => request.socket.destroyed;
    answer ??= await this.#answer(call, kind, name, verb);
    if (key && answer[0] < 300) this.#replies.set(key, answer);
    if (wish === 'lose') return request.socket.destroy();
    const [status, body, headers = {}] = answer;
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    return response.end(body === undefined ? '' : JSON.stringify(body));
  }

  #stream(request, response) {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const after = Number(request.headers['last-event-id'] ?? this.events.length);
    response.write(': hello\n\n');
    this.events.slice(after).forEach((text) => response.write(text));
    this.#streams.add(response);
  }

  async #answer(call, kind, name, verb) {
    const { method, body, query } = call;
    if (kind === 'jobs') return this.#job(this.jobs.get(name), verb, body, query);
    const all = [...this.jobs.values()].filter((job) => job.queue === name);
    const count = (status) => all.filter((job) => job.status === status).length;
    if (name === 'nowhere') return problem(404, 'queue_unknown', 'there is no queue nowhere');
    if (verb === undefined) {
      const statuses = ['waiting', 'delayed', 'active', 'completed', 'dead'];
      return [200, { name, paused: this.paused === true, ...Object.fromEntries(statuses.map((one) => [one, count(one)])) }];
    }
    if (verb === 'jobs' && method === 'GET') return [200, { data: all, next_cursor: null }];
    if (verb === 'jobs') return [201, body.jobs ? { data: body.jobs.map((job) => this.add(name, job)) } : this.add(name, body)];
    if (verb === 'claim') return [200, { data: await this.#claim(name, body, call) }];
    if (verb === 'complete') {
      const data = body.jobs.map((ack) => this.#complete(ack));
      return [200, { data, claimed: body.claim ? await this.#claim(name, body.claim, call) : undefined }];
    }
    if (verb === 'heartbeat') {
      return [200, { data: body.jobs.map(({ id, lease }) => this.#holds(id, lease) ?? { id, lease_until: 'later', cancel: this.jobs.get(id).cancel === true }) }];
    }
    if (verb === 'release') {
      body.jobs.forEach(({ id }) => Object.assign(this.jobs.get(id), { status: 'waiting', lease: undefined }));
      return [200, { data: body.jobs.map(({ id }) => ({ id, status: 'waiting' })) }];
    }
    if (verb === 'dead' || verb === 'purge') return [200, { count: all.length }];
    if (verb === 'drain') {
      const waiting = all.filter((job) => job.status === 'waiting');
      waiting.forEach((job) => this.jobs.delete(job.id));
      return [200, { count: waiting.length }];
    }
    this.paused = verb === 'pause';
    return [200, { name, paused: this.paused }];
  }

  #holds(id, lease) {
    const job = this.jobs.get(id);
    return job?.status === 'active' && job.lease === lease ? undefined : { id, error: { code: 'lease_lost' } };
  }

  async #claim(queue, { limit, wait }, call) {
    const ready = () => [...this.jobs.values()].filter((job) => job.queue === queue && job.status === 'waiting').slice(0, limit);
    if (ready().length === 0 && wait !== '0s') {
      await new Promise((resolve) => { this.#waiting.push(resolve); setTimeout(resolve, 200).unref(); });
    }
    // Who hung up gets no jobs.
    if (call.isGone()) return [];
    return ready().map((job) => {
      Object.assign(job, { status: 'active', attempt: job.attempt + 1, lease: `l${job.attempt + 1}` });
      const { id, tenant, payload, attempt, attempts, lease, tags, timeout } = job;
      return { id, queue, tenant, payload, attempt, attempts, lease, tags, timeout };
    });
  }

  #complete({ id, lease, result }) {
    const lost = this.#holds(id, lease);
    if (lost) return lost;
    Object.assign(this.jobs.get(id), { status: 'completed', result, lease: undefined });
    this.#wake();
    return { id, status: 'completed' };
  }

  async #job(job, verb, body, query) {
    if (!job) return problem(404, 'not_found', 'there is no such job');
    if (verb === 'wait' && !['completed', 'dead'].includes(job.status)) {
      await new Promise((resolve) => { this.#waiting.push(resolve); setTimeout(resolve, parseInt(query.get('timeout'), 10)).unref(); });
    }
    if (['fail', 'progress'].includes(verb) && this.#holds(job.id, body.lease)) return problem(409, 'lease_lost', 'the lease is over');
    if (verb === 'fail') {
      const isDead = body.retry === false || job.attempt >= job.attempts;
      Object.assign(job, { status: isDead ? 'dead' : 'waiting', error: body.error, lease: undefined, failed: body });
      this.#wake();
    }
    if (verb === 'progress') job.progress = { percent: body.percent, note: body.note };
    if (verb === 'cancel') job.cancel = true;
    const ended = ({ id, status, result }) => (['completed', 'dead'].includes(status) ? { id, status, result } : { id });
    return [200, { ...job, children: this.children.get(job.id)?.map(ended) }];
  }
}

/** Waits for an event with its arguments. */
export const event = (emitter, name) => new Promise((resolve) => emitter.once(name, (...args) => resolve(args)));

/** Waits until a condition holds. */
export async function until(what, holds) {
  const end = Date.now() + 20_000;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
