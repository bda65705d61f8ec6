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
    runAt, priority: 2, backoff: { type: 'exponential', delay: 1000, max: '1h' }, timeout: '5m', tags: ['eu'], key: 'k', keep: '1d',
    unique: { key: 'u', within: 500, onDuplicate: 'existing' }, tenant: 'acme', delay: 1500,
  });
  const [call] = server.calls;
  assert.equal(`${call.method} ${call.path}`, 'POST /api/v1/queues/mail/jobs');
  assert.equal(call.headers.authorization, 'Bearer secret');
  assert.match(call.headers['idempotency-key'], /^[0-9a-f-]{36}$/);
  assert.deepEqual(call.body, {
    payload: { to: 'a' }, tags: ['name:welcome', 'eu'], run_at: '2026-11-20T12:00:00.000Z', priority: 2, attempts: 5,
    backoff: { kind: 'exponential', base: '1000ms', max: '1h' }, timeout: '5m', key: 'k', keep: '1d', delay: '1500ms',
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
  assert.equal(await other.clean({ status: 'dead' }), 1);
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
