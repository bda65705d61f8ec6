// BullMQ: one connection for adding, one worker with the asked concurrency; nothing is kept of finished jobs.
import { Queue, Worker } from 'bullmq';
import IORedis from 'ioredis';
import { run } from './scenarios.mjs';

await run(async ({ url }) => {
  const connection = new IORedis(url, { maxRetriesPerRequest: null });
  const queue = new Queue('bench', { connection, defaultJobOptions: { removeOnComplete: true, removeOnFail: true } });
  await queue.waitUntilReady();
  return {
    clear: () => connection.flushall(),
    add: (data) => queue.add('job', data),
    addBulk: (all) => queue.addBulk(all.map((data) => ({ name: 'job', data }))),
    work: async (concurrency, handler) => {
      const worker = new Worker('bench', (job) => handler(job.data), { connection: new IORedis(url, { maxRetriesPerRequest: null }), concurrency });
      worker.on('error', (error) => process.stderr.write(`${error.stack}\n`));
      await worker.waitUntilReady();
      return { stop: () => worker.close(true) };
    },
    close: async () => {
      await queue.close();
      connection.disconnect();
    },
  };
});
