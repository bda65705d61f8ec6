// pg-boss: as many polling workers as the asked concurrency, in batches of 50, at the shortest pause it allows.
import PgBoss from 'pg-boss';
import { run } from './scenarios.mjs';

const BATCH = 50;

await run(async ({ url, connections = 32 }) => {
  const boss = new PgBoss({ connectionString: url, max: Math.min(connections, 90), supervise: false, schedule: false });
  boss.on('error', (error) => process.stderr.write(`${error.stack}\n`));
  await boss.start();
  await boss.createQueue('bench');
  return {
    clear: () => boss.clearStorage(),
    add: (data) => boss.send('bench', data),
    addBulk: (all) => boss.insert(all.map((data) => ({ name: 'bench', data }))),
    work: async (concurrency, handler) => {
      const options = { batchSize: BATCH, pollingIntervalSeconds: 0.5 };
      const all = async (jobs) => { for (const job of jobs) await handler(job.data); };
      await Promise.all(Array.from({ length: concurrency }, () => boss.work('bench', options, all)));
      return { stop: () => boss.offWork('bench') };
    },
    close: () => boss.stop({ graceful: false, timeout: 1_000 }),
  };
});
