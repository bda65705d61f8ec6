// Events of a queue: what is told, and that a broken stream goes on without a gap.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { QueueEvents } from '../index.mjs';
import { Scripted, event, until } from './scripted.mjs';

const server = new Scripted();
before(() => server.start());
after(() => server.stop());

test('events are told, and a broken stream goes on where it ended', async () => {
  const events = new QueueEvents('work', { connection: { url: server.url } });
  events.on('error', () => undefined);
  await events.waitUntilReady();
  const told = [];
  for (const kind of ['added', 'active', 'progress', 'completed', 'retrying', 'failed', 'cancelled', 'stalled']) {
    events.on(kind, (about, id) => told.push([kind, about, id]));
  }
  for (const kind of ['drained', 'paused', 'resumed', 'gap']) events.on(kind, (id) => told.push([kind, id]));
  server.tell('added', { job: 'j1', tenant: 't1' });
  server.tell('progress', { job: 'j1', tenant: 't1', percent: 5, note: 'on it' });
  server.tell('of a newer version', { job: 'j1' });
  await until('three are told', () => told.length === 2);
  server.breakStreams();
  server.tell('completed', { job: 'j1', tenant: 't1', result: [1] });
  server.tell('dead', { job: 'j2', tenant: null, error: 'no' });
  // Two events of the API for one failed attempt; the reason comes with the first.
  server.tell('failed', { job: 'j3', tenant: null, error: 'not yet', attempt: 1 });
  server.tell('retrying', { job: 'j3', tenant: null, attempt: 1 });
  server.tell('failed', { job: 'j3', tenant: null, error: 'never', attempt: 2 });
  server.tell('dead', { job: 'j3', tenant: null });
  server.tell('gap');
  await until('all are told', () => told.length === 7);
  assert.deepEqual(told, [
    ['added', { jobId: 'j1', tenant: 't1' }, '1'],
    ['progress', { jobId: 'j1', tenant: 't1', data: { percent: 5, note: 'on it' } }, '2'],
    ['completed', { jobId: 'j1', tenant: 't1', returnvalue: [1] }, '4'],
    ['failed', { jobId: 'j2', tenant: undefined, failedReason: 'no' }, '5'],
    ['retrying', { jobId: 'j3', tenant: undefined, failedReason: 'not yet', attempt: 1 }, '7'],
    ['failed', { jobId: 'j3', tenant: undefined, failedReason: 'never' }, '9'],
    ['gap', '10'],
  ]);
  assert.equal(server.paths('/events')[1].headers['last-event-id'], '3');
  await events.close();
});

test('one can go on after an event of an earlier run', async () => {
  const events = new QueueEvents('work', { connection: { url: server.url }, lastEventId: '3' });
  const [about, id] = await event(events, 'completed');
  assert.deepEqual([about.jobId, id], ['j1', '4']);
  await events.close();
});
