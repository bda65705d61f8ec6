import { randomUUID } from 'node:crypto';
import { connect, type Connection, type ConnectionOptions } from './connection';
import { BULK_BYTES_MAX, BULK_JOBS_MAX, Gatherer } from './gather';
import { Job, readJob } from './job';
import { moment, newJob, type JobOptions } from './options';
import type { JobCounts, JobStatus, JobWire, ListWire, NewJobWire, QueueWire, SweptWire } from './wire';

export interface QueueOptions {
  /** A connection to share, or where to connect. Default: `SWITCHYARD_URL` and `SWITCHYARD_TOKEN`. */
  connection?: Connection | ConnectionOptions;
  /** What each job gets that does not say otherwise. */
  defaultJobOptions?: JobOptions;
  /**
   * Whether requests of `add` and `addBulk` are sent under a key of their own (true), so that they can be repeated when an answer
   * is lost, and are done once all the same. Without it a lost answer is an error, and whether the job was added is unknown.
   */
  idempotent?: boolean;
}

/** A job for {@link Queue.addBulk}. */
export interface AddManyItem<Data, Name extends string> {
  name: Name;
  data: Data;
  opts?: JobOptions;
}

/** Jobs that meet all that is said. */
export interface JobSelection {
  status?: JobStatus;
  /** By id or slug. */
  tenant?: string;
  tag?: string;
  /** A part of the text of the error. */
  error?: string;
  /** Made (those that have ended: ended) at or after. */
  from?: Date | string;
  /** Made (those that have ended: ended) before. */
  to?: Date | string;
}

/** Which jobs to list. */
export interface JobFilter extends JobSelection {
  /** At most this many (50); no more than 500. */
  limit?: number;
  /** Where the page before ended. */
  cursor?: string;
}

/** A page of jobs. `nextCursor` is there when more may follow: a search can come back with few jobs, or none, and go on there. */
export interface JobPage<Data, Result, Name extends string> {
  jobs: Job<Data, Result, Name>[];
  nextCursor: string | undefined;
}

/** How long one call may work on many jobs, in milliseconds: Switchyard answers after a minute, and says that there are more. */
const SWEEP_MS = 90_000;

/** A queue: adds jobs and looks after them. It must be declared, as `[queues.<name>]` or by the API. */
export class Queue<Data = any, Result = any, Name extends string = string> {
  readonly name: string;
  private readonly connection: Connection;
  private readonly own: boolean;
  private readonly defaults: JobOptions;
  private readonly idempotent: boolean;
  private readonly adds = new Gatherer((jobs) => this.send(jobs));

  constructor(name: string, options: QueueOptions = {}) {
    this.name = name;
    ({ connection: this.connection, own: this.own } = connect(options.connection));
    this.defaults = options.defaultJobOptions ?? {};
    this.idempotent = options.idempotent ?? true;
  }

  /**
   * Adds a job. When this returns, the job survives a crash of Switchyard. A repeat after a lost answer adds no second.
   *
   * Adds that are not awaited one by one are gathered: those that come while a request is on its way go together in the next. Each has
   * its own outcome, and they are added in the order in which they were called.
   */
  async add(name: Name, data: Data, options: JobOptions = {}): Promise<Job<Data, Result, Name>> {
    const body = newJob(name, data, { ...this.defaults, ...options });
    return this.job(withPayload(await this.adds.add(body), body));
  }

  /**
   * Adds many jobs, in requests of up to 1,000. The jobs of one request are added together or not at all; where a later
   * request is refused, the jobs of those before it stay.
   */
  async addBulk(items: readonly AddManyItem<Data, Name>[]): Promise<Job<Data, Result, Name>[]> {
    const bodies = items.map((item) => newJob(item.name, item.data, { ...this.defaults, ...item.opts }));
    const added: Job<Data, Result, Name>[] = [];
    for (const jobs of chunks(bodies)) {
      const answer = await this.make<ListWire<JobWire>>(JSON.stringify({ jobs }));
      answer.data.forEach((wire, index) => added.push(this.job(withPayload(wire, jobs[index]))));
    }
    return added;
  }

  /** One job, or `undefined` when there is none of this id. */
  async getJob(id: string): Promise<Job<Data, Result, Name> | undefined> {
    const wire = await readJob(this.connection, id);
    return wire === undefined ? undefined : this.job(wire);
  }

  /** A page of jobs, newest first. */
  async getJobs(filter: JobFilter = {}): Promise<JobPage<Data, Result, Name>> {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(selected(filter))) if (value !== undefined) query.set(name, String(value));
    const list = await this.get<ListWire<JobWire>>(`jobs?${query.toString()}`);
    return { jobs: list.data.map((wire) => this.job(wire)), nextCursor: list.next_cursor ?? undefined };
  }

  /** How many jobs wait, wait for their time, run, have completed and are dead. */
  async getJobCounts(): Promise<JobCounts> {
    const { waiting, delayed, active, completed, dead } = await this.get<QueueWire>('');
    return { waiting, delayed, active, completed, dead };
  }

  /** Jobs that have yet to run: waiting or delayed. */
  async count(): Promise<number> {
    const { waiting, delayed } = await this.getJobCounts();
    return waiting + delayed;
  }

  /** From now on no job of the queue is given to a worker, anywhere. Jobs that run go on. */
  async pause(): Promise<void> {
    await this.post('pause', {});
  }

  async resume(): Promise<void> {
    await this.post('resume', {});
  }

  async isPaused(): Promise<boolean> {
    return (await this.get<QueueWire>('')).paused;
  }

  /** Removes all jobs that wait, and says how many there were. Those that run go on. */
  async drain(): Promise<number> {
    return this.sweep('drain', {});
  }

  /** Lets dead jobs run again, with all their attempts, and says how many there were. */
  async retryJobs(selection: JobSelection & { limit?: number } = {}): Promise<number> {
    const { limit, ...filter } = selection;
    if (limit === undefined) return this.sweep('dead', { filter: selected(filter) });
    // A limit is one call's: the next would begin to count anew.
    return (await this.post<SweptWire>('dead', { filter: selected(filter), limit }, SWEEP_MS)).count;
  }

  /** Forgets finished jobs, and says how many there were. */
  async clean(selection: JobSelection = {}): Promise<number> {
    return this.sweep('purge', selected(selection));
  }

  /** Waits for adds that are under way, and ends the queue's own connections. The queue itself stays. */
  async close(): Promise<void> {
    await this.adds.idle();
    if (this.own) this.connection.close();
  }

  private job(wire: JobWire): Job<Data, Result, Name> {
    return new Job(this.connection, this.name, wire);
  }

  private path(rest: string): string {
    const path = `/api/v1/queues/${encodeURIComponent(this.name)}`;
    return rest === '' ? path : `${path}/${rest}`;
  }

  private get<T>(rest: string): Promise<T> {
    return this.connection.call<T>({ method: 'GET', path: this.path(rest), repeatable: true });
  }

  private post<T>(rest: string, body: object, held = 0): Promise<T> {
    return this.connection.call<T>({ method: 'POST', path: this.path(rest), body, repeatable: true, held });
  }

  /** Does something to many jobs, in as many calls as it takes. */
  private async sweep(rest: string, body: object): Promise<number> {
    for (let total = 0; ;) {
      const { count, more } = await this.post<SweptWire>(rest, body, SWEEP_MS);
      total += count;
      if (more !== true) return total;
    }
  }

  private async send(jobs: readonly string[]): Promise<readonly JobWire[]> {
    const [only = ''] = jobs;
    if (jobs.length === 1) return [await this.make<JobWire>(only)];
    return (await this.make<ListWire<JobWire>>(`{"jobs":[${jobs.join()}]}`)).data;
  }

  /** Adds what the body says, once. */
  private make<T>(body: string): Promise<T> {
    const key = this.idempotent ? { key: randomUUID() } : {};
    const path = this.path('jobs');
    return this.connection.call<T>({ method: 'POST', path, body, repeatable: this.idempotent, ...key });
  }
}

/** A selection as the API takes it. */
function selected<T extends JobSelection>(selection: T): object {
  const { from, to, ...rest } = selection;
  return { ...rest, ...(from === undefined ? {} : { from: moment(from) }), ...(to === undefined ? {} : { to: moment(to) }) };
}

/** Answers to an add need not repeat the payload. */
function withPayload(wire: JobWire, sent: NewJobWire | undefined): JobWire {
  return { ...wire, payload: wire.payload ?? sent?.payload, tags: wire.tags ?? sent?.tags ?? [] };
}

function* chunks(bodies: readonly NewJobWire[]): Generator<NewJobWire[]> {
  let chunk: NewJobWire[] = [];
  let bytes = 0;
  for (const body of bodies) {
    const size = Buffer.byteLength(JSON.stringify(body)) + 1;
    if (chunk.length === BULK_JOBS_MAX || (chunk.length > 0 && bytes + size > BULK_BYTES_MAX)) {
      yield chunk;
      [chunk, bytes] = [[], 0];
    }
    chunk.push(body);
    bytes += size;
  }
  if (chunk.length > 0) yield chunk;
}
