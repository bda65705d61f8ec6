// graphile-worker with its batching on: a local queue and batched completions.
import { makeWorkerUtils, run as runWorker, Logger } from 'graphile-worker';
import pg from 'pg';
import { run } from './scenarios.mjs';

const logger = new Logger(() => () => undefined);

await run(async ({ url, connections = 32 }) => {
  const pool = new pg.Pool({ connectionString: url, max: Math.min(connections, 90) });
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  const utils = await makeWorkerUtils({ pgPool: pool, logger });
  await utils.migrate();
  return {
    clear: () => pool.query('truncate graphile_worker._private_jobs'),
    add: (data) => utils.addJob('job', data),
    addBulk: (all) => utils.addJobs(all.map((data) => ({ identifier: 'job', payload: data }))),
    work: async (concurrency, handler) => {
      const runner = await runWorker({
        connectionString: url,
        concurrency,
        noHandleSignals: true,
        logger,
        taskList: { job: (data) => handler(data) },
        preset: {
          worker: {
            maxPoolSize: Math.min(concurrency + 2, 20),
            pollInterval: 2_000,
            ...(concurrency > 1 ? { localQueue: { size: 500, refetchDelay: { durationMs: 20 } }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } : {}),
          },
        },
      });
      return { stop: () => runner.stop().catch(() => undefined) };
    },
    close: async () => {
      await utils.release();
      await pool.end();
    },
  };
});
