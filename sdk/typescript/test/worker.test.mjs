// Workers: how jobs are taken, told of, kept and given back.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { RetryError, UnrecoverableError, Worker } from '../index.mjs';
import { Scripted, event, until } from './scripted.mjs';

let server;
let worker;
beforeEach(async () => { server = await new Scripted().start(); });
afterEach(async () => {
  await worker?.close(true);
  await server.stop();
});

function start(processor, options = {}) {
  worker = new Worker('work', processor, { connection: { url: server.url }, name: 'w1', ...options });
  return worker;
}

const never = (job, token, signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));

test('finished jobs are told and new ones taken by one call', async () => {
  for (let index = 0; index < 20; index += 1) server.add('work', { payload: { index } });
  const seen = [];
  start((job) => { seen.push(job.data.index); return { twice: job.data.index * 2 }; });
  await event(worker, 'drained');
  assert.deepEqual(seen, [...Array(20).keys()]);
  assert.equal(server.paths('/complete').length, 20);
  assert.deepEqual(server.paths('/claim')[0].body, { limit: 1, lease: '30s', worker: 'w1', wait: '20000ms' });
  assert.deepEqual(server.paths('/complete')[0].body.claim, { limit: 1, lease: '30s', worker: 'w1', wait: '0s' });
  const results = [...server.jobs.values()].map((job) => job.result.twice);
  assert.deepEqual(results, seen.map((index) => index * 2));
});

test('many jobs run side by side, and are told of together', async () => {
  for (let index = 0; index < 500; index += 1) server.add('work', { payload: null });
  let [now, most, done] = [0, 0, 0];
  start(async () => {
    most = Math.max(most, ++now);
    await new Promise((resolve) => setImmediate(resolve));
    now -= 1;
  }, { concurrency: 50 });
  worker.on('completed', () => { done += 1; });
  await until('all are done', () => done === 500);
  assert.equal(most, 50);
  assert.ok(server.calls.length < 40, `${server.calls.length} calls`);
});

test('a failure is told with its cause, and decides on the next try', async () => {
  const errors = { plain: new Error('again'), later: new RetryError('in a while', '5m'), never: new UnrecoverableError('never') };
  for (const name of Object.keys(errors)) server.add('work', { payload: null, tags: [`name:${name}`], attempts: 1 });
  const failed = [];
  start((job) => { throw errors[job.name]; });
  worker.on('failed', (job, error) => failed.push([job.name, error.message, job.status]));
  await until('all have failed', () => failed.length === 3);
  assert.deepEqual(failed, [['plain', 'again', 'dead'], ['later', 'in a while', 'dead'], ['never', 'never', 'dead']]);
  const [plain, later, unrecoverable] = server.paths('/fail').map((call) => call.body);
  assert.match(plain.error, /^Error: again\n/);
  assert.deepEqual([plain.retry, plain.retry_in, later.retry_in, unrecoverable.retry], [true, undefined, '5m', false]);
});

test('a failed attempt runs again', async () => {
  server.add('work', { payload: null });
  start((job) => { if (job.attempt < 3) throw new Error('not yet'); return job.attemptsMade; });
  const [job, result] = await event(worker, 'completed');
  assert.deepEqual([job.attempt, result], [3, 2]);
});

test('progress and lines of the log carry the job', async () => {
  const { id } = server.add('work', { payload: null });
  const told = [];
  start(async (job) => {
    await job.updateProgress(30);
    await job.updateProgress({ percent: 60.4, note: 'page 2' });
  });
  worker.on('progress', (job, progress) => told.push(progress));
  await event(worker, 'completed');
  assert.deepEqual(told, [30, { percent: 60.4, note: 'page 2' }]);
  assert.deepEqual(server.jobs.get(id).progress, { percent: 60, note: 'page 2' });
});

test('a cancelled job sees its signal', async () => {
  const { id } = server.add('work', { payload: null });
  start(never, { heartbeat: 10 });
  await event(worker, 'active');
  server.jobs.get(id).cancel = true;
  const [job, error] = await event(worker, 'failed');
  assert.deepEqual([job.id, error.message, job.signal.aborted], [id, 'the job was cancelled', true]);
  assert.equal(server.paths('/fail')[0].body.retry, false);
});

test('a job whose time-out is over sees its signal', async () => {
  server.add('work', { payload: null, timeout: '20ms', attempts: 1 });
  start(never);
  const [, error] = await event(worker, 'failed');
  assert.match(error.message, /time-out of 20ms/);
});

test('a lost lease aborts the job, and its result counts for nothing', async () => {
  const { id } = server.add('work', { payload: null });
  let aborted;
  start((job, token, signal) => new Promise((resolve) => {
    signal.addEventListener('abort', () => { aborted = signal.reason.message; resolve('late'); });
  }), { heartbeat: 10 });
  await event(worker, 'active');
  server.jobs.get(id).lease = 'of another';
  assert.deepEqual(await event(worker, 'stalled'), [id]);
  assert.equal(aborted, 'the lease was lost');
  assert.equal(server.paths('/complete').length, 0);
});

test('a completion whose answer is lost counts once, and keeps nobody waiting', async () => {
  server.add('work', { payload: null });
  server.onCall = (call) => (call.path.endsWith('/complete') && server.paths('/complete').length === 1 ? 'lose' : undefined);
  start(() => 'fine');
  const [job] = await event(worker, 'completed');
  assert.equal(job.status, 'completed');
  assert.equal(server.paths('/complete').length, 2);
});

test('a result that is refused fails its own job alone', async () => {
  for (const size of ['small', 'huge', 'small']) server.add('work', { payload: { size } });
  server.onCall = (call) => {
    const isHuge = call.path.endsWith('/complete') && call.body.jobs.some((job) => job.result === 'huge');
    return isHuge ? [413, { code: 'payload_too_large', detail: 'too long' }] : undefined;
  };
  const ended = [];
  start((job) => job.data.size, { concurrency: 3 });
  worker.on('completed', (job) => ended.push(job.data.size));
  worker.on('failed', (job, error) => ended.push(error.message));
  await until('all have ended', () => ended.length === 3);
  assert.deepEqual(ended.sort(), ['small', 'small', 'the result was refused: too long (payload_too_large)']);
  assert.equal(server.paths('/fail')[0].body.retry, false);
});

test('a result that is no JSON fails its job', async () => {
  server.add('work', { payload: null, attempts: 1 });
  start(() => 1n);
  const [, error] = await event(worker, 'failed');
  assert.match(error.message, /BigInt/);
});

test('large results go in several calls', async () => {
  for (let index = 0; index < 8; index += 1) server.add('work', { payload: null });
  let done = 0;
  start(() => 'x'.repeat(250_000), { concurrency: 8 });
  worker.on('completed', () => { done += 1; });
  await until('all are done', () => done === 8);
  assert.ok(server.paths('/complete').length >= 3);
});

test('closing waits for what runs, and takes nothing more', async () => {
  server.add('work', { payload: null });
  let finish;
  start(() => new Promise((resolve) => { finish = resolve; }));
  await event(worker, 'active');
  server.add('work', { payload: null });
  let closed = false;
  const closing = worker.close().then(() => { closed = true; });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(closed, false);
  finish();
  await closing;
  assert.deepEqual([...server.jobs.values()].map((job) => job.status), ['completed', 'waiting']);
  assert.equal(worker.isRunning(), false);
});

test('closing by force gives back what runs', async () => {
  const { id } = server.add('work', { payload: null });
  start(never);
  await event(worker, 'active');
  await worker.close(true);
  assert.deepEqual(server.paths('/release')[0].body.jobs, [{ id, lease: 'l1' }]);
  assert.equal(server.jobs.get(id).status, 'waiting');
  assert.equal(server.paths('/fail').length, 0);
});

test('jobs of a claim that is answered while the worker closes are given back', async () => {
  const { id } = server.add('work', { payload: null });
  let closed;
  server.onCall = (call) => {
    if (call.path.endsWith('/claim')) closed ??= worker.close();
  };
  start(() => assert.fail('nothing runs any more'));
  await until('it closes', () => closed !== undefined);
  await closed;
  assert.equal(server.paths('/claim').length, 1);
  assert.deepEqual(server.paths('/release').map((call) => call.body.jobs), [[{ id, lease: 'l1' }]]);
  assert.equal(server.jobs.get(id).status, 'waiting');
});

test('pausing takes nothing more until it is resumed', async () => {
  start(() => 1);
  await until('it waits for jobs', () => server.paths('/claim').length === 1);
  await worker.pause();
  await until('the server sees that nobody waits', () => server.paths('/claim')[0].isGone());
  server.add('work', { payload: null });
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal([...server.jobs.values()][0].status, 'waiting');
  worker.resume();
  await event(worker, 'completed');
});

test('a server that is away is waited for', async () => {
  server.add('work', { payload: null });
  let away = true;
  server.onCall = () => (away ? [503, { code: 'unavailable' }] : undefined);
  start(() => 1, { connection: { url: server.url, retries: 0 } });
  const [error] = await event(worker, 'error');
  assert.equal(error.code, 'unavailable');
  away = false;
  await event(worker, 'completed');
});

test('a listener that throws is told of, and harms no job', async () => {
  server.add('work', { payload: null });
  start(() => 1);
  worker.on('active', () => { throw new Error('a bug'); });
  const [[error]] = await Promise.all([event(worker, 'error'), event(worker, 'completed')]);
  assert.equal(error.message, 'a bug');
});

test('a process ends once its worker is closed', () => {
  const sdk = fileURLToPath(new URL('../index.mjs', import.meta.url));
  const script = `import { Worker } from ${JSON.stringify(sdk)};
    const worker = new Worker('x', () => 1, { connection: { url: 'http://127.0.0.1:1', retries: 0 } });
    worker.on('error', () => worker.close());`;
  const { status, signal } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { timeout: 20_000 });
  assert.deepEqual([status, signal], [0, null]);
});
