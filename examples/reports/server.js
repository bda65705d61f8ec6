// `node server.js`: the page, and a small JSON API. The gateway says in X-Tenant-Id for whom a request is.
import { createReadStream, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { Queue, QueueEvents, SwitchyardError } from '@switchyard/sdk';
import { folderOf, parseOrder } from './reports.js';

const PAGE = readFileSync(new URL('page.html', import.meta.url));
/** Longest body of an order. */
const BODY_BYTES_MAX = 1024;
/** Tenants whose queues are kept open; beyond that the one that was opened first makes room. */
const QUEUES_MAX = 1_000;

const queues = new Map();
/** The queue as one tenant sees it: orders are in its name, and it finds its own only. */
function queueOf(tenant) {
  let queue = queues.get(tenant);
  if (queue === undefined) {
    queue = new Queue('reports', { connection: { tenant } });
    queues.set(tenant, queue);
    if (queues.size > QUEUES_MAX) {
      const [first, oldest] = queues.entries().next().value;
      queues.delete(first);
      void oldest.close();
    }
  }
  return queue;
}

/** Browsers that watch, by tenant. */
const watchers = new Map();
const events = new QueueEvents('reports');
events.on('error', (error) => console.error(JSON.stringify({ level: 'warn', message: `events: ${error.message}` })));
for (const kind of ['added', 'active', 'progress', 'completed', 'retrying', 'failed']) {
  events.on(kind, ({ tenant, jobId, data }) => {
    for (const response of watchers.get(tenant) ?? []) {
      response.write(`event: report\ndata: ${JSON.stringify({ id: jobId, kind, progress: data })}\n\n`);
    }
  });
}

const shown = (job) => ({
  id: job.id, year: job.data.year, status: job.status, progress: job.progress, result: job.returnvalue, error: job.failedReason,
});

async function answer(request, response) {
  const path = request.url.split('?')[0];
  if (path === '/health') return send(response, 200, { status: 'ok' });
  const tenant = request.headers['x-tenant-id'];
  if (!/^\w{1,64}$/.test(tenant ?? '')) return send(response, 400, { error: 'no tenant: ask through the gateway' });
  const queue = queueOf(tenant);
  const route = `${request.method} ${path.replace(/job_\w+/, ':id')}`;
  const id = /job_\w+/.exec(path)?.[0];
  switch (route) {
    case 'GET /':
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
      return response.end(PAGE);
    case 'GET /api/reports': {
      const { jobs } = await queue.getJobs({ limit: 100 });
      return send(response, 200, { data: jobs.map(shown) });
    }
    case 'POST /api/reports': {
      const order = parseOrder(await body(request));
      if (order === undefined) return send(response, 422, { error: 'an order is {"year": 2000 to 2100}' });
      return send(response, 202, shown(await queue.add('sales', order)));
    }
    case 'GET /api/reports/:id': {
      const job = await queue.getJob(id);
      return job === undefined ? send(response, 404, { error: 'there is no such report' }) : send(response, 200, shown(job));
    }
    case 'GET /api/reports/:id.csv': {
      const job = await queue.getJob(id);
      if (job?.status !== 'completed') return send(response, 404, { error: 'there is no such file' });
      response.writeHead(200, { 'content-type': 'text/csv; charset=utf-8' });
      return createReadStream(join(folderOf(tenant), `${id}.csv`)).on('error', () => response.destroy()).pipe(response);
    }
    case 'GET /api/events': return watch(tenant, request, response);
    default: return send(response, 404, { error: 'there is no such path' });
  }
}

/** Tells a browser what becomes of its tenant's reports. */
function watch(tenant, request, response) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  response.write(': begin\n\n');
  const all = watchers.get(tenant) ?? new Set();
  watchers.set(tenant, all.add(response));
  request.on('close', () => {
    all.delete(response);
    if (all.size === 0) watchers.delete(tenant);
  });
}

async function body(request) {
  let text = '';
  for await (const chunk of request) {
    text += chunk;
    if (text.length > BODY_BYTES_MAX) return '';
  }
  return text;
}

function send(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' });
  response.end(JSON.stringify(value));
}

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    console.error(JSON.stringify({ level: 'error', message: error.message, tenant: request.headers['x-tenant-id'] }));
    const isFull = error instanceof SwitchyardError && error.status === 429;
    if (response.headersSent) response.destroy();
    else send(response, isFull ? 429 : 503, { error: isFull ? 'too many reports are waiting' : 'this does not work just now' });
  });
});
server.listen(Number(process.env.PORT), '127.0.0.1');

process.once('SIGTERM', async () => {
  server.close();
  server.closeAllConnections();
  await events.close();
  for (const queue of queues.values()) await queue.close();
});
