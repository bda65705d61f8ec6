// Queues, flows and jobs: what is sent, what is repeated, what an error tells.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, afterEach, before, test } from 'node:test';
import { Connection, ConnectionError, FlowProducer, JobFailedError, Queue, SwitchyardError, WaitTimeoutError } from '../index.mjs';
import { Scripted } from './scripted.mjs';

const server = new Scripted();
let queue;
before(async () => {
  await server.start();
  queue = new Queue('mail', { connection: { url: server.url, token: 'secret' }, defaultJobOptions: { attempts: 5 } });
});
afterEach(() => {
  server.calls.length = 0;
  server.onCall = () => undefined;
});
after(async () => {
  await queue.close();
  await server.stop();
});

test('an added job carries its options as the API has them', async () => {
  const runAt = new Date('2026-11-20T12:00:00Z');
  const job = await queue.add('welcome', { to: 'a' }, {
    runAt, priority: 2, backoff: { type: 'exponential', delay: 1000, max: '1h', jitter: false }, timeout: '5m', tags: ['eu'], key: 'k', keep: '1d',
    unique: { key: 'u', within: 500, onDuplicate: 'existing' }, tenant: 'acme', delay: 1500,
  });
  const [call] = server.calls;
  assert.equal(`${call.method} ${call.path}`, 'POST /api/v1/queues/mail/jobs');
  assert.equal(call.headers.authorization, 'Bearer secret');
  assert.match(call.headers['idempotency-key'], /^[0-9a-f-]{36}$/);
  assert.deepEqual(call.body, {
    payload: { to: 'a' }, tags: ['name:welcome', 'eu'], run_at: '2026-11-20T12:00:00.000Z', priority: 2, attempts: 5,
    backoff: { kind: 'exponential', base: '1000ms', max: '1h', jitter: false }, timeout: '5m', key: 'k', keep: '1d', delay: '1500ms',
    unique: { key: 'u', within: '500ms', on_duplicate: 'existing' }, tenant: 'acme',
  });
  assert.deepEqual([job.name, job.data, job.tags, job.status], ['welcome', { to: 'a' }, ['eu'], 'waiting']);
  await assert.rejects(queue.add('x', {}, { priority: 10 }), RangeError);
  await assert.rejects(queue.add('x', {}, { delay: -1 }), RangeError);
});

test('an add whose answer is lost is repeated, and is one job', async () => {
  const before = server.jobs.size;
  server.onCall = (_, number) => (number <= 2 ? 'lose' : undefined);
  await queue.add('once', {});
  assert.equal(server.jobs.size, before + 1);
  assert.equal(server.calls.length, 3);
  assert.equal(new Set(server.calls.map((call) => call.headers['idempotency-key'])).size, 1);
});

test('an add without a key is not repeated once it may have been done', async () => {
  const fast = new Queue('mail', { connection: { url: server.url }, idempotent: false });
  server.onCall = () => 'lose';
  await assert.rejects(fast.add('x', {}), ConnectionError);
  assert.deepEqual([server.calls.length, server.calls[0].headers['idempotency-key']], [1, undefined]);
  await fast.close();
});

test('503 is repeated after the pause it asks for, and 429 is told', async () => {
  server.onCall = (_, number) => (number === 1 ? [503, { code: 'overloaded' }, { 'retry-after': '0' }] : undefined);
  await queue.add('x', {});
  assert.equal(server.calls.length, 2);
  server.onCall = () => [429, { code: 'queue_full', detail: 'full' }, { 'retry-after': '7' }];
  await assert.rejects(queue.add('x', {}), (error) => error.code === 'queue_full' && error.retryAfterMs === 7000);
  assert.equal(server.calls.length, 3);
});

test('a refusal says what is wrong where', async () => {
  const nowhere = new Queue('nowhere', { connection: { url: server.url } });
  await assert.rejects(nowhere.add('x', {}), (error) => error instanceof SwitchyardError && error.code === 'queue_unknown' && error.status === 404);
  server.onCall = () => [422, { code: 'invalid', detail: 'wrong', request_id: 'req_1', errors: [{ pointer: '/delay', detail: 'no duration' }] }];
  await assert.rejects(queue.add('x', {}, { delay: 'soon' }), (error) => {
    assert.equal(error.message, 'wrong: /delay: no duration (invalid)');
    assert.deepEqual([error.requestId, error.faults.length], ['req_1', 1]);
    return true;
  });
  assert.equal(server.calls.length, 2, 'a refusal is not repeated');
  await nowhere.close();
});

test('nobody there is a clear error', async () => {
  const away = new Queue('mail', { connection: { url: 'http://127.0.0.1:1', retries: 1 } });
  await assert.rejects(away.add('x', {}), (error) => error instanceof ConnectionError && /ECONNREFUSED/.test(error.message));
  delete process.env.SWITCHYARD_URL;
  assert.throws(() => new Queue('mail'), /SWITCHYARD_URL/);
});

test('bulks are split at a thousand jobs', async () => {
  const items = Array.from({ length: 1500 }, (_, index) => ({ name: 'n', data: { index } }));
  const jobs = await queue.addBulk(items);
  assert.deepEqual(server.calls.map((call) => call.body.jobs.length), [1000, 500]);
  assert.equal(jobs[1499].data.index, 1499);
});

/** Refuses requests in which a job is bad, whole, as the API does. */
const refusing = (isBad, answer) => (call) => {
  const jobs = call.method === 'POST' ? call.body.jobs ?? [call.body] : [];
  return jobs.some((job) => isBad(job.payload)) ? answer : undefined;
};
const sent = () => server.calls.map((call) => (call.body.jobs ?? [call.body]).map((job) => job.payload.n));

test('adds that wait at the same time go together, in their order', async () => {
  const jobs = await Promise.all(Array.from({ length: 2500 }, (_, n) => queue.add('x', { n })));
  assert.deepEqual(sent().map((numbers) => numbers.length), [1000, 1000, 500]);
  assert.deepEqual(jobs.map((job) => job.data.n), [...Array(2500).keys()]);
  const ids = jobs.map((job) => job.id);
  assert.deepEqual(ids, [...ids].sort());
  assert.equal(new Set(server.calls.map((call) => call.headers['idempotency-key'])).size, 3);
});

test('producers side by side share a request, and one alone does not wait for others', async () => {
  await queue.add('x', { n: 0 });
  assert.deepEqual([server.calls.length, server.calls[0].body.jobs], [1, undefined]);
  const produce = async (from) => { for (let n = 0; n < 10; n += 1) await queue.add('x', { n: from + n }); };
  await Promise.all(Array.from({ length: 32 }, (_, from) => produce(from * 10)));
  assert.ok(server.calls.length <= 1 + 20, `${server.calls.length} calls for 320 jobs`);
});

test('each of the adds that went together has an outcome of its own', async () => {
  server.onCall = refusing(({ n }) => n === 3 || n === 7, [409, { code: 'job_duplicate', detail: 'it is there' }]);
  const before = server.jobs.size;
  const outcomes = await Promise.allSettled(Array.from({ length: 10 }, (_, n) => queue.add('x', { n })));
  assert.deepEqual(outcomes.map((one) => one.reason?.code), Array.from({ length: 10 }, (_, n) => (n === 3 || n === 7 ? 'job_duplicate' : undefined)));
  assert.equal(server.jobs.size, before + 8);
  const added = [...server.jobs.values()].slice(before).map((job) => job.payload.n);
  assert.deepEqual(added, [0, 1, 2, 4, 5, 6, 8, 9], 'in their order');
});

test('what is refused for all is not sent again for each', async () => {
  const refusals = [[401, 'unauthenticated'], [403, 'forbidden'], [404, 'queue_unknown'], [404, 'not_found'], [429, 'rate_limited']];
  for (const [index, [status, code]] of refusals.entries()) {
    server.onCall = () => [status, { code, detail: 'no' }];
    const outcomes = await Promise.allSettled(Array.from({ length: 100 }, (_, n) => queue.add('x', { n })));
    assert.ok(outcomes.every((one) => one.reason.code === code));
    assert.equal(server.calls.length, index + 1, code);
  }
});

test('a job that is too large for the room that is left keeps no smaller one out', async () => {
  const isLarge = ({ text }) => text !== undefined;
  server.onCall = refusing(isLarge, [429, { code: 'queue_full', detail: 'full' }]);
  const text = 'x'.repeat(1_000);
  const adds = Array.from({ length: 100 }, (_, n) => queue.add('x', n % 10 === 0 ? { n, text } : { n }));
  const outcomes = await Promise.allSettled(adds);
  assert.deepEqual(outcomes.map((one) => one.status === 'rejected'), Array.from({ length: 100 }, (_, n) => n % 10 === 0));
  assert.ok(server.calls.length < 20, `${server.calls.length} calls`);
});

test('a full queue takes what fits, and is not asked for each of the rest', async () => {
  const before = server.jobs.size;
  server.onCall = (call) => (server.jobs.size - before + (call.body.jobs?.length ?? 1) > 300 ? [429, { code: 'queue_full', detail: 'full' }] : undefined);
  const outcomes = await Promise.allSettled(Array.from({ length: 1000 }, (_, n) => queue.add('x', { n })));
  assert.deepEqual(outcomes.map((one) => one.status), [...Array(300).fill('fulfilled'), ...Array(700).fill('rejected')]);
  assert.ok(server.calls.length < 30, `${server.calls.length} calls`);
});

test('large adds go in several requests', async () => {
  const text = 'x'.repeat(1024 * 1024);
  const jobs = await Promise.all(Array.from({ length: 6 }, (_, n) => queue.add('x', { n, text })));
  assert.deepEqual(sent(), [[0, 1, 2], [3, 4, 5]]);
  assert.equal(jobs.length, 6);
});

test('a gathered request whose answer is lost is repeated whole, once', async () => {
  const before = server.jobs.size;
  server.onCall = (_, number) => (number === 1 ? 'lose' : undefined);
  const jobs = await Promise.all(Array.from({ length: 50 }, (_, n) => queue.add('x', { n })));
  assert.equal(server.jobs.size, before + 50);
  assert.equal(new Set(jobs.map((job) => job.id)).size, 50);
  assert.equal(server.calls.length, 2);
});

test('closing waits for adds that are under way', async () => {
  const short = new Queue('mail', { connection: { url: server.url } });
  const before = server.jobs.size;
  const adds = Promise.all([short.add('x', {}), short.add('x', {})]);
  await short.close();
  assert.equal(server.jobs.size, before + 2);
  await adds;
});

test('one connection serves many calls, and two queues may share it', async () => {
  const connection = new Connection({ url: server.url });
  const [one, two] = [new Queue('a', { connection }), new Queue('b', { connection })];
  const before = server.connections;
  for (let index = 0; index < 10; index += 1) {
    await one.add('x', {});
    await two.add('x', {});
  }
  assert.equal(server.connections - before, 1);
  connection.close();
});

test('the queue is looked after', async () => {
  const other = new Queue('other', { connection: { url: server.url, tenant: 'acme', environment: 'test' } });
  await other.add('x', { a: 1 });
  assert.deepEqual([server.calls[0].headers['switchyard-tenant'], server.calls[0].headers['switchyard-environment']], ['acme', 'test']);
  assert.deepEqual(await other.getJobCounts(), { waiting: 1, delayed: 0, active: 0, completed: 0, dead: 0 });
  assert.equal(await other.count(), 1);
  const { jobs, nextCursor } = await other.getJobs({ status: 'waiting', limit: 10 });
  assert.deepEqual([jobs.length, jobs[0].data, nextCursor], [1, { a: 1 }, undefined]);
  assert.equal((await other.getJob(jobs[0].id)).name, 'x');
  assert.equal(await other.getJob('job_none'), undefined);
  await other.pause();
  assert.equal(await other.isPaused(), true);
  await other.resume();
  assert.equal(await other.isPaused(), false);
  assert.equal(await other.retryJobs({ tag: 'eu', limit: 5 }), 1);
  assert.deepEqual(server.calls.at(-1).body, { filter: { tag: 'eu' }, limit: 5 });
  assert.equal(await other.clean({ status: 'dead', to: new Date('2026-11-20T12:00:00Z') }), 1);
  assert.deepEqual(server.calls.at(-1).body, { status: 'dead', to: '2026-11-20T12:00:00.000Z' });
  await other.getJobs({ from: new Date(0), tag: 'eu' });
  assert.deepEqual(Object.fromEntries(server.calls.at(-1).query), { tag: 'eu', from: '1970-01-01T00:00:00.000Z' });
  // An operation that ends for its time goes on.
  server.onCall = (call) => (call.path.endsWith('/purge') && server.paths('/purge').length === 2 ? [200, { count: 5, more: true }] : undefined);
  assert.equal(await other.clean(), 6);
  server.onCall = () => undefined;
  assert.equal(await other.drain(), 1);
  await other.close();
});

test('a flow is one tree, and its parent reads what its children gave', async () => {
  const flow = new FlowProducer({ connection: { url: server.url } });
  const { job, children } = await flow.add({
    name: 'site', queueName: 'builds', data: { site: 1 }, opts: { onChildFailure: 'ignore' },
    children: [{ name: 'page', queueName: 'pages', data: { page: 1 }, opts: { delay: '1s' } }, { name: 'page', queueName: 'pages', data: { page: 2 } }],
  });
  assert.equal(server.calls[0].path, '/api/v1/queues/builds/jobs');
  assert.deepEqual(server.calls[0].body, {
    payload: { site: 1 }, tags: ['name:site'], on_child_failure: 'ignore',
    children: [
      { payload: { page: 1 }, tags: ['name:page'], delay: '1s', queue: 'pages' },
      { payload: { page: 2 }, tags: ['name:page'], queue: 'pages' },
    ],
  });
  assert.deepEqual(children.map((child) => child.job.data.page), [1, 2]);
  const first = server.jobs.get(children[0].job.id);
  Object.assign(first, { status: 'completed', result: 7 });
  assert.deepEqual(await job.getChildrenValues(), { [first.id]: 7 });
  await flow.close();
});

test('a job is waited for', async () => {
  const job = await queue.add('long', {});
  const stored = server.jobs.get(job.id);
  setTimeout(() => Object.assign(stored, { status: 'completed', result: { sum: 3 } }), 20);
  await assert.rejects(job.waitUntilFinished(1), WaitTimeoutError);
  assert.deepEqual(await job.waitUntilFinished('1s'), { sum: 3 });
  Object.assign(stored, { status: 'dead', error: 'no ink' });
  await assert.rejects(job.waitUntilFinished(), (error) => error instanceof JobFailedError && error.message === 'no ink');
  assert.deepEqual([await job.getState(), await job.isFailed(), await job.isCompleted()], ['dead', true, false]);
  await job.retry();
  await assert.rejects(job.updateProgress(1), TypeError);
});

test('import and require give the same classes', () => {
  const required = createRequire(import.meta.url)('../dist/index.js');
  assert.equal(required.Queue, Queue);
  assert.equal(required.SwitchyardError, SwitchyardError);
});
