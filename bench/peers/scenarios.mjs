// What is measured of each queue, the same for all: `node PEER.mjs '{"url": …, "do": "enqueue", …}'` prints one JSON object.
// A peer gives { clear, add, addBulk, work, close }, set up as somebody who knows it would.
import { performance } from 'node:perf_hooks';

const BULK = 1_000;
/** Requests of a bulk that are under way at a time. */
const BULKS = 4;
/** Workers of the latency and fairness runs. */
const WORKERS = 10;
/** Longest wait for jobs that were added to begin. */
const PATIENCE_MS = 60_000;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** About 110 bytes as JSON. */
const payload = (index) => ({ tenant: `tenant-${index % 16}`, kind: 'mail', to: 'ada@acme.example', subject: 'Your report is ready', number: index });
const payloads = (count) => Array.from({ length: count }, (_, index) => payload(index));

async function addMany(peer, count, make = payload) {
  let next = 0;
  const adding = Array.from({ length: BULKS }, async () => {
    while (next < count) {
      const from = next;
      next = Math.min(count, next + BULK);
      await peer.addBulk(Array.from({ length: next - from }, (_, index) => make(from + index)));
    }
  });
  await Promise.all(adding);
}

async function rate(lanes, seconds, once) {
  let [count, isOver] = [0, false];
  const began = performance.now();
  const timer = setTimeout(() => { isOver = true; }, seconds * 1000);
  await Promise.all(Array.from({ length: lanes }, async () => {
    while (!isOver) {
      const added = await once();
      count += added;
    }
  }));
  clearTimeout(timer);
  return { per_second: count / ((performance.now() - began) / 1000) };
}

/** Runs no-op jobs until none is left or the time is over. */
async function drain(peer, concurrency, jobs, seconds) {
  let [count, first, last] = [0, 0, 0];
  let end;
  const over = new Promise((resolve) => { end = resolve; });
  const worker = await peer.work(concurrency, () => {
    last = performance.now();
    if (count === 0) {
      first = last;
      setTimeout(end, seconds * 1000);
    }
    count += 1;
    if (count === jobs) end();
  });
  await over;
  const result = { per_second: (count - 1) / ((last - first) / 1000), jobs: count };
  await worker.stop();
  return result;
}

const percentile = (sorted, share) => sorted[Math.min(sorted.length, Math.ceil(sorted.length * share)) - 1];

/** Adds jobs at a steady rate and tells how long after it was sent each began. */
async function paced(peer, perSecond, seconds, make, began) {
  const count = perSecond * seconds;
  const start = performance.now() + 50;
  for (let index = 0; index < count; index += 1) {
    const due = start + (index * 1000) / perSecond;
    const left = due - performance.now();
    if (left > 0) await sleep(left);
    // Counted from when it is sent: timers are early here and late elsewhere, and no queue's work.
    void peer.add(make(performance.now()));
  }
  const patience = performance.now() + PATIENCE_MS;
  while (began !== undefined && began.length < count && performance.now() < patience) await sleep(20);
}

async function latency(peer, { rate: perSecond, seconds, fair }) {
  const began = [];
  const worker = await peer.work(WORKERS, async (data) => {
    if (data.due !== undefined) began.push(performance.now() - data.due);
    if (fair !== undefined) await sleep(fair.job_ms);
  });
  // Connections are made and code is compiled before it counts.
  await paced(peer, perSecond, 1, () => ({ warm: true }));
  if (fair !== undefined) await addMany(peer, fair.backlog, () => ({ tenant: 'loud' }));
  await paced(peer, perSecond, seconds, (due) => ({ tenant: 'quiet', due }), began);
  await worker.stop();
  began.sort((a, b) => a - b);
  const shares = [0.5, 0.9, 0.95, 0.99, 1];
  return { p50_ms: percentile(began, 0.5), p99_ms: percentile(began, 0.99), percentiles: shares.map((share) => percentile(began, share)), jobs: began.length };
}

const SCENARIOS = {
  enqueue: async (peer, { connections, seconds }) => {
    let index = 0;
    return rate(connections, seconds, async () => { await peer.add(payload(index++)); return 1; });
  },
  bulk: async (peer, { seconds }) => {
    const jobs = payloads(BULK);
    return rate(BULKS, seconds, async () => { await peer.addBulk(jobs); return BULK; });
  },
  process: async (peer, { concurrency, jobs, seconds }) => {
    await addMany(peer, jobs);
    return drain(peer, concurrency, jobs, seconds);
  },
  latency,
  load: async (peer, { jobs }) => {
    await addMany(peer, jobs);
    return {};
  },
  // Over what `load` left.
  backlog: async (peer, { concurrency, seconds }) => drain(peer, concurrency, Infinity, seconds),
};

export async function run(open) {
  const asked = JSON.parse(process.argv[2]);
  const peer = await open(asked);
  if (asked.do !== 'backlog') await peer.clear();
  const result = await SCENARIOS[asked.do](peer, asked);
  if (!['load', 'backlog'].includes(asked.do)) await peer.clear();
  process.stdout.write(`${JSON.stringify(result)}\n`);
  // What hangs on connections must not hold up the next run.
  setTimeout(() => process.exit(0), 2_000).unref();
  await peer.close();
  process.exit(0);
}
