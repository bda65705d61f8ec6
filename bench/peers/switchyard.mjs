// Switchyard through its own TypeScript package, as the peers are used through theirs.
import { Connection, Queue, Worker } from '../../sdk/typescript/index.mjs';
import { run } from './scenarios.mjs';

await run(async ({ url, token, connections = 32 }) => {
  const connection = new Connection({ url, token, connections: Math.max(connections, 32) });
  const queue = new Queue('bench', { connection, idempotent: false });
  return {
    clear: () => queue.drain(),
    add: (data) => queue.add('default', data, { tenant: data.tenant ?? 'quiet' }),
    addBulk: (all) => queue.addBulk(all.map((data) => ({ name: 'default', data, opts: { tenant: data.tenant } }))),
    work: async (concurrency, handler) => {
      const worker = new Worker('bench', (job) => handler(job.data), { connection, concurrency });
      worker.on('error', (error) => process.stderr.write(`${error.stack}\n`));
      return { stop: () => worker.close(true) };
    },
    close: async () => connection.close(),
  };
});
