// `node worker.js`: makes the reports. Run as many of it as you like.
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UnrecoverableError, Worker } from '@switchyard/sdk';
import { MONTHS, folderOf, sales } from './reports.js';

/** A month takes a while, as real figures would. */
const MONTH_MS = 100;

const worker = new Worker('reports', async (job, token, signal) => {
  const { year } = job.data;
  if (job.tenant === undefined) throw new UnrecoverableError('an order of nobody');
  if (!Number.isInteger(year)) throw new UnrecoverableError('an order without a year');
  const rows = ['month,orders,revenue'];
  let total = 0;
  for (const [index, name] of MONTHS.entries()) {
    await sleep(MONTH_MS, undefined, { signal });
    const { orders, revenue } = sales(job.tenant, year, index + 1);
    rows.push(`${name},${orders},${revenue}`);
    total += revenue;
    await job.updateProgress({ percent: ((index + 1) / MONTHS.length) * 100, note: name });
  }
  // Written aside and renamed: whoever reads it finds all of it, also when a job is run twice.
  const folder = folderOf(job.tenant);
  await mkdir(folder, { recursive: true });
  const unfinished = join(folder, `${job.id}.${process.pid}`);
  await writeFile(unfinished, `${rows.join('\n')}\n`);
  await rename(unfinished, join(folder, `${job.id}.csv`));
  job.log('report is made', { year, total });
  return { rows: rows.length - 1, total };
}, { concurrency: 4 });

worker.on('failed', (job, error) => job.log('report failed', { level: 'warn', error: error.message, attempt: job.attempt }));
worker.on('error', (error) => console.error(JSON.stringify({ level: 'error', message: error.message })));

// A new deployment need not wait: what is unfinished goes back to the queue, and another worker makes it.
process.once('SIGTERM', () => worker.close(true));
