// Compiled, never run: what the types allow and what they refuse. `@ts-expect-error` fails when the line below it is right.
import { FlowProducer, Queue, QueueEvents, Worker, type Job, type Processor } from '@switchyard/sdk';

interface Mail { to: string }
type Names = 'welcome' | 'invoice';

const queue = new Queue<Mail, number, Names>('mail', { connection: { url: 'http://localhost' } });
const job: Job<Mail, number, Names> = await queue.add('welcome', { to: 'a' }, { delay: '5s', unique: 'x' });
const result: number = await job.waitUntilFinished('10s');
// @ts-expect-error: a name that the queue does not have
await queue.add('goodbye', { to: 'a' });
// @ts-expect-error: data of another form
await queue.add('welcome', { from: 'a' });
// @ts-expect-error: an option that does not exist
await queue.add('welcome', { to: 'a' }, { removeOnComplete: true });
await queue.add('welcome', { to: 'a' }, {
  tenant: 'acme', delay: 5, runAt: new Date(), priority: 0, attempts: 3, backoff: { type: 'fixed', delay: '1s', max: '1m', jitter: false }, timeout: '5m',
  unique: { key: 'u', within: '1d', onDuplicate: 'existing' }, key: 'k', tags: ['eu'], keep: '7d',
});
const count: number = await queue.retryJobs({ tag: 'eu', error: 'timed out', tenant: 'acme', from: new Date(), to: '2026-11-20T12:00:00Z', limit: 10 });
const { jobs, nextCursor } = await queue.getJobs({ status: 'dead', tag: 'eu', limit: 10 });
if (nextCursor !== undefined) await queue.getJobs({ cursor: nextCursor });
// @ts-expect-error: no state of a job
await queue.clean({ status: 'finished' });
await queue.addBulk([{ name: 'invoice', data: { to: 'b' }, opts: { backoff: { type: 'fixed', delay: 10 } } }]);

const processor: Processor<Mail, number, Names> = async (job, token, signal) => {
  await job.updateProgress({ percent: 10, note: job.data.to });
  return signal.aborted ? 0 : token.length;
};
const worker = new Worker<Mail, number, Names>('mail', processor, { concurrency: 5, lease: '1m' });
worker.on('completed', (job, value) => { const sum: number = value + job.attempt; });
worker.on('failed', (job, error) => { const text: string = error.message + job.name; });
// @ts-expect-error: an event that does not exist
worker.on('finished', () => undefined);
// @ts-expect-error: a processor that gives another result
new Worker<Mail, number>('mail', () => 'text');
// An untyped queue takes anything, as in JavaScript.
await new Queue('any').add('x', { any: [1] });

const events = new QueueEvents<number>('mail', { lastEventId: '1' });
events.on('completed', ({ returnvalue, tenant }) => { const sum: number = returnvalue + (tenant?.length ?? 0); });
const node = await new FlowProducer().add({ name: 'a', queueName: 'b', children: [{ name: 'c', queueName: 'd' }] });
const child: string | undefined = node.children?.[0]?.job.id;
