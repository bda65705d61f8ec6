import { randomUUID } from 'node:crypto';
import { connect, type Connection, type ConnectionOptions } from './connection';
import { Job, readJob } from './job';
import { newJob, type JobOptions } from './options';
import type { JobCounts, JobStatus, JobWire, ListWire, NewJobWire, QueueWire } from './wire';

export interface QueueOptions {
  /** A connection to share, or where to connect. Default: `SWITCHYARD_URL` and `SWITCHYARD_TOKEN`. */
  connection?: Connection | ConnectionOptions;
  /** What each job gets that does not say otherwise. */
  defaultJobOptions?: JobOptions;
  /**
   * Whether `add` and `addBulk` are sent under a key of their own (true), so that they can be repeated when an answer is lost, and
   * are done once all the same. Without it a producer that adds job by job is several times faster, and a lost answer is an error.
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
}

/** Which jobs to list. */
export interface JobFilter extends JobSelection {
  /** At most this many (50); no more than 500. */
  limit?: number;
  /** Where the page before ended. */
  cursor?: string;
}

/** A page of jobs; `nextCursor` is there when more follow. */
export interface JobPage<Data, Result, Name extends string> {
  jobs: Job<Data, Result, Name>[];
  nextCursor: string | undefined;
}

/** What one request carries at most; longer bulks become several. */
const BULK_JOBS_MAX = 1_000;
const BULK_BYTES_MAX = 4 * 1024 * 1024 - 1024;

/** A queue: adds jobs and looks after them. It must be declared, as `[queues.<name>]` or by the API. */
export class Queue<Data = any, Result = any, Name extends string = string> {
  readonly name: string;
  private readonly connection: Connection;
  private readonly own: boolean;
  private readonly defaults: JobOptions;
  private readonly idempotent: boolean;

  constructor(name: string, options: QueueOptions = {}) {
    this.name = name;
    ({ connection: this.connection, own: this.own } = connect(options.connection));
    this.defaults = options.defaultJobOptions ?? {};
    this.idempotent = options.idempotent ?? true;
  }

  /** Adds a job. When this returns, the job survives a crash of Switchyard. A repeat after a lost answer adds no second. */
  async add(name: Name, data: Data, options: JobOptions = {}): Promise<Job<Data, Result, Name>> {
    const body = newJob(name, data, { ...this.defaults, ...options });
    return this.job(withPayload(await this.make<JobWire>(body), body));
  }

  /**
   * Adds many jobs, in requests of up to 1,000. The jobs of one request are added together or not at all; where a later
   * request is refused, the jobs of those before it stay.
   */
  async addBulk(items: readonly AddManyItem<Data, Name>[]): Promise<Job<Data, Result, Name>[]> {
    const bodies = items.map((item) => newJob(item.name, item.data, { ...this.defaults, ...item.opts }));
    const added: Job<Data, Result, Name>[] = [];
    for (const jobs of chunks(bodies)) {
      const answer = await this.make<ListWire<JobWire>>({ jobs });
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
    for (const [name, value] of Object.entries(filter)) if (value !== undefined) query.set(name, String(value));
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
    return (await this.post<{ count: number }>('drain', {})).count;
  }

  /** Lets dead jobs run again, with all their attempts, and says how many there were. */
  async retryJobs(selection: JobSelection & { limit?: number } = {}): Promise<number> {
    const { limit, ...filter } = selection;
    return (await this.post<{ count: number }>('dead', { filter, ...(limit === undefined ? {} : { limit }) })).count;
  }

  /** Forgets finished jobs, and says how many there were. */
  async clean(selection: JobSelection = {}): Promise<number> {
    return (await this.post<{ count: number }>('purge', selection)).count;
  }

  /** Ends the queue's own connections. The queue itself stays. */
  async close(): Promise<void> {
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

  private post<T>(rest: string, body: object): Promise<T> {
    return this.connection.call<T>({ method: 'POST', path: this.path(rest), body, repeatable: true });
  }

  /** Adds what the body says, once. */
  private make<T>(body: object): Promise<T> {
    const key = this.idempotent ? { key: randomUUID() } : {};
    const path = this.path('jobs');
    return this.connection.call<T>({ method: 'POST', path, body, repeatable: this.idempotent, ...key });
  }
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
