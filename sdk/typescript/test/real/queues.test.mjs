// Against the real binary. The environment says where: SWITCHYARD_URL and SWITCHYARD_TOKEN as of a service, TENANT_KEY is a key of
// the tenant acme; globex is another one. The queues are declared by `crates/server/tests/it/sdk.rs`.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Connection, FlowProducer, JobFailedError, Queue, QueueEvents, SwitchyardError, UnrecoverableError, WaitTimeoutError, Worker } from '../../index.mjs';
import { event, until } from '../scripted.mjs';

const connection = new Connection();
const queue = (name) => new Queue(name, { connection, defaultJobOptions: { tenant: 'acme' } });
const work = (name, processor, options = {}) => new Worker(name, processor, { connection, ...options });
const opened = [];
const keep = (closable) => { opened.push(closable); return closable; };

before(() => assert.ok(process.env.SWITCHYARD_URL, 'run by cargo xtask test'));
after(async () => {
  for (const closable of opened) await closable.close(true);
  connection.close();
});

test('a job goes through a worker, and its result comes back', async () => {
  const sums = queue('sums');
  const worker = keep(work('sums', async (job) => {
    await job.updateProgress({ percent: 50, note: 'half' });
    return { sum: job.data.a + job.data.b };
  }));
  const job = await sums.add('plus', { a: 1, b: 2 }, { tags: ['eu'] });
  assert.match(job.id, /^job_[0-9a-z]{26}$/);
  assert.deepEqual(await job.waitUntilFinished('20s'), { sum: 3 });
  const read = await sums.getJob(job.id);
  assert.deepEqual([read.name, read.tags, read.data, read.status, read.attempt], ['plus', ['eu'], { a: 1, b: 2 }, 'completed', 1]);
  assert.deepEqual(read.returnvalue, { sum: 3 });
  assert.match(read.tenant, /^ten_/);
  await worker.close();
});

test('a failed attempt is retried, and the last one leaves a dead job with its history', async () => {
  const flaky = queue('flaky');
  const ended = [];
  const events = keep(new QueueEvents('flaky', { connection }));
  await events.waitUntilReady();
  const told = [];
  for (const kind of ['retrying', 'failed']) events.on(kind, (about) => told.push([kind, about.jobId, about.failedReason.split('\n')[0]]));
  const worker = keep(work('flaky', (job) => {
    if (job.name === 'never') throw new UnrecoverableError('not this one');
    if (job.attempt < 2) throw new Error('not yet');
    return job.attempt;
  }));
  worker.on('failed', (job, error) => ended.push([job.name, error.message, job.status]));
  const twice = await flaky.add('twice', {}, { attempts: 3, backoff: 10 });
  assert.equal(await twice.waitUntilFinished('20s'), 2);
  const never = await flaky.add('never', {}, { attempts: 3 });
  await assert.rejects(never.waitUntilFinished('20s'), (error) => error instanceof JobFailedError && /not this one/.test(error.message));
  const dead = await flaky.getJob(never.id);
  assert.deepEqual([dead.status, dead.attempt, dead.history.length], ['dead', 1, 1]);
  assert.match(dead.history[0].error, /not this one/);
  assert.deepEqual(ended.map(([name, message]) => [name, message]), [['twice', 'not yet'], ['never', 'not this one']]);
  assert.equal(ended[1][2], 'dead');
  await until('both are told', () => told.length >= 2);
  assert.deepEqual(told, [['retrying', twice.id, 'Error: not yet'], ['failed', never.id, 'UnrecoverableError: not this one']]);
  await worker.close();
});

test('many jobs are added in bulk and worked off side by side', async () => {
  const many = queue('many');
  const jobs = await many.addBulk(Array.from({ length: 2500 }, (_, index) => ({ name: 'n', data: { index } })));
  assert.equal(new Set(jobs.map((job) => job.id)).size, 2500);
  const seen = new Set();
  const worker = keep(work('many', (job) => { seen.add(job.data.index); }, { concurrency: 100 }));
  await until('all are done', () => seen.size === 2500);
  await until('all are told', async () => (await many.getJobCounts()).completed >= 2500);
  assert.deepEqual([await many.count(), (await many.getJobCounts()).active], [0, 0]);
  await worker.close();
});

test('many single adds go together, and each has its own outcome', async () => {
  const many = queue('once');
  const add = (n) => many.add('x', { n }, n % 100 === 7 ? { unique: 'seven' } : {});
  const outcomes = await Promise.allSettled(Array.from({ length: 1000 }, (_, n) => add(n)));
  const refused = outcomes.flatMap((one, n) => (one.status === 'rejected' ? [[n, one.reason.code]] : []));
  assert.deepEqual(refused, [107, 207, 307, 407, 507, 607, 707, 807, 907].map((n) => [n, 'job_duplicate']));
  const ids = outcomes.flatMap((one) => (one.status === 'fulfilled' ? [one.value.id] : []));
  assert.deepEqual(ids, [...ids].sort(), 'in the order of the calls');
  assert.equal(await many.drain(), 991);
});

test('workers that close while jobs come leave none to a lease', async () => {
  const brief = queue('brief');
  for (let round = 0; round < 60; round += 1) {
    const worker = work('brief', () => undefined);
    // The claim is on its way, or waits, or is being answered.
    await new Promise((resolve) => setTimeout(resolve, round % 6));
    const [job] = await Promise.all([brief.add('x', {}), worker.close()]);
    const second = work('brief', () => undefined);
    await job.waitUntilFinished('10s');
    await second.close();
  }
  const { active, waiting } = await brief.getJobCounts();
  assert.deepEqual([active, waiting], [0, 0]);
});

test('a running job is cancelled', async () => {
  const long = queue('long');
  const worker = keep(work('long', (job, token, signal) => new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason));
  }), { heartbeat: 100 }));
  const job = await long.add('wait', {});
  await event(worker, 'active');
  const failed = event(worker, 'failed');
  await job.cancel();
  assert.equal((await failed)[1].message, 'the job was cancelled');
  await until('it is cancelled', async () => (await job.getState()) === 'cancelled');
  await assert.rejects(job.waitUntilFinished('5s'), (error) => error.status === 'cancelled');
  await worker.close();
});

test('closing by force gives a job back, and the attempt does not count', async () => {
  const given = queue('given');
  const first = keep(work('given', (job, token, signal) => new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason));
  })));
  const job = await given.add('x', {});
  await event(first, 'active');
  await first.close(true);
  const second = keep(work('given', (again) => again.attempt));
  assert.equal(await job.waitUntilFinished('20s'), 1);
  await second.close();
});

test('a unique job is there once', async () => {
  const once = queue('once');
  const first = await once.add('x', {}, { unique: 'u' });
  await assert.rejects(once.add('x', {}, { unique: 'u' }), (error) => error.code === 'job_duplicate' && error.status === 409);
  const again = await once.add('x', {}, { unique: { key: 'u', onDuplicate: 'existing' } });
  assert.equal(again.id, first.id);
  // Another tenant's key is another.
  const other = await once.add('x', {}, { unique: 'u', tenant: 'globex' });
  assert.notEqual(other.id, first.id);
  assert.equal(await once.drain(), 2);
  assert.equal(await once.count(), 0);
});

test('what is more urgent, and what is due, comes first', async () => {
  const order = queue('order');
  await order.add('later', {}, { delay: '150ms', priority: 0 });
  for (const [name, priority] of [['c', 9], ['b', 5], ['a', 1]]) await order.add(name, {}, { priority });
  const { waiting, delayed, active } = await order.getJobCounts();
  assert.deepEqual([waiting, delayed, active], [3, 1, 0]);
  const seen = [];
  const worker = keep(work('order', (job) => { seen.push(job.name); }));
  await until('all are done', () => seen.length === 4);
  assert.deepEqual(seen.filter((name) => name !== 'later'), ['a', 'b', 'c']);
  await worker.close();
});

test('a paused queue gives nothing until it is resumed', async () => {
  const rest = queue('rest');
  await rest.pause();
  assert.equal(await rest.isPaused(), true);
  const job = await rest.add('x', {});
  const worker = keep(work('rest', () => 'done'));
  await assert.rejects(job.waitUntilFinished(300), WaitTimeoutError);
  await rest.resume();
  assert.equal(await job.waitUntilFinished('20s'), 'done');
  await worker.close();
});

test('a parent runs when its children are done, and reads their results', async () => {
  const flow = new FlowProducer({ connection });
  const worker = keep(work('pages', (job) => job.data.page * 10, { concurrency: 2 }));
  const builder = keep(work('sites', async (job) => {
    const values = Object.values(await job.getChildrenValues());
    return values.reduce((sum, value) => sum + value, 0);
  }));
  const child = (page) => ({ name: 'page', queueName: 'pages', data: { page }, opts: { tenant: 'acme' } });
  const { job, children } = await flow.add({ name: 'site', queueName: 'sites', opts: { tenant: 'acme' }, children: [child(1), child(2), child(3)] });
  assert.equal(await job.waitUntilFinished('20s'), 60);
  assert.equal(children.length, 3);
  await worker.close();
  await builder.close();
});

test('events tell what happens, and go on after an event of before', async () => {
  const told = queue('told');
  const events = keep(new QueueEvents('told', { connection }));
  await events.waitUntilReady();
  const seen = [];
  let middle;
  for (const kind of ['added', 'active', 'progress', 'completed']) {
    events.on(kind, (about, id) => { seen.push([kind, about.jobId]); if (kind === 'active') middle = id; });
  }
  const worker = keep(work('told', async (job) => { await job.updateProgress(10); return 'r'; }));
  const completed = event(events, 'completed');
  const job = await told.add('x', {});
  const [about] = await completed;
  assert.deepEqual([about.jobId, about.returnvalue ?? 'r'], [job.id, 'r']);
  assert.deepEqual(seen, ['added', 'active', 'progress', 'completed'].map((kind) => [kind, job.id]));
  const again = keep(new QueueEvents('told', { connection, lastEventId: middle, autorun: false }));
  const next = event(again, 'progress');
  void again.run();
  assert.deepEqual((await next)[0].jobId, job.id);
  await worker.close();
});

test("a tenant's own key sees its own jobs only", async () => {
  const own = keep(new Queue('mine', { connection: { token: process.env.TENANT_KEY } }));
  const all = queue('mine');
  const others = await all.add('x', {}, { tenant: 'globex' });
  const job = await own.add('x', {});
  assert.equal(await own.getJob(others.id), undefined);
  assert.deepEqual((await own.getJobs()).jobs.map((one) => one.id), [job.id]);
  assert.equal((await all.getJobs()).jobs.length, 2);
  await all.drain();
});

test('what is wrong is refused with its code', async () => {
  const nowhere = new Queue('flaki', { connection, defaultJobOptions: { tenant: 'acme' } });
  await assert.rejects(nowhere.add('x', {}), (error) => error instanceof SwitchyardError && error.code === 'queue_unknown' && /flaky/.test(error.message));
  const sums = queue('sums');
  await assert.rejects(sums.add('x', { text: 'x'.repeat(300 * 1024) }), (error) => error.code === 'payload_too_large' && error.status === 413);
  await assert.rejects(sums.add('x', {}, { delay: 'soon' }), (error) => error.faults.some((fault) => fault.pointer.includes('delay')));
  await assert.rejects(sums.add('x', {}, { tenant: 'nobody' }), (error) => error.status === 404 || error.status === 422);
  const stranger = keep(new Queue('sums', { connection: { token: 'sy_live_wrong' } }));
  await assert.rejects(stranger.add('x', {}), (error) => error.status === 401);
});
