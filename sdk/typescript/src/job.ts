import type { Connection } from './connection';
import { JobFailedError, SwitchyardError, WaitTimeoutError } from './errors';
import { milliseconds, nameAndTags, type Duration } from './options';
import type { Attempt, ClaimedWire, JobStatus, JobWire } from './wire';

/** How far a job is: 0 to 100, or with a note for people. */
export type JobProgress = number | { percent: number; note?: string };

/** How long one call waits for a job to finish. The next one goes on from there. */
const WAIT_STEP_MS = 20_000;

/** A job as it was when it was read, and what can be done with it. */
export class Job<Data = unknown, Result = unknown, Name extends string = string> {
  readonly id: string;
  readonly name: Name;
  readonly queueName: string;
  readonly data: Data;
  /** Id of the tenant it is for. */
  readonly tenant: string | undefined;
  readonly tags: readonly string[];
  readonly key: string | undefined;
  readonly priority: number;
  /** The run that this is, from 1; 0 before the first. */
  readonly attempt: number;
  /** How often it is tried in all. */
  readonly attempts: number;
  status: JobStatus;
  progress: JobProgress;
  returnvalue: Result | undefined;
  failedReason: string | undefined;
  /** When it was added, began and ended, in milliseconds since 1970. */
  readonly timestamp: number;
  readonly processedOn: number | undefined;
  finishedOn: number | undefined;
  /** Its failed attempts, oldest first, where the job was read by itself. */
  readonly history: readonly Attempt[];
  /** Aborted when somebody cancels it, its time is over, its lease is lost or its worker closes by force. */
  readonly signal: AbortSignal;

  /** Jobs are made by queues and workers. `lease` is what proves that a worker holds the job. */
  constructor(
    private readonly connection: Connection,
    queue: string,
    wire: JobWire,
    private readonly lease?: string,
    signal?: AbortSignal,
  ) {
    const { name, tags } = nameAndTags(wire.tags);
    this.id = wire.id;
    this.name = name as Name;
    this.queueName = wire.queue ?? queue;
    this.data = wire.payload as Data;
    this.tenant = wire.tenant ?? undefined;
    this.tags = tags;
    this.key = wire.key ?? undefined;
    this.priority = wire.priority;
    this.attempt = wire.attempt;
    this.attempts = wire.attempts;
    this.status = wire.status;
    const { percent, note } = wire.progress ?? { percent: 0 };
    this.progress = note === undefined || note === null ? percent : { percent, note };
    this.returnvalue = (wire.result ?? undefined) as Result | undefined;
    this.failedReason = wire.error ?? undefined;
    this.timestamp = Date.parse(wire.created_at);
    this.processedOn = time(wire.started_at);
    this.finishedOn = time(wire.finished_at);
    this.history = wire.history ?? [];
    this.signal = signal ?? new AbortController().signal;
  }

  /** Attempts that ended before this one. */
  get attemptsMade(): number {
    return this.status === 'active' ? this.attempt - 1 : this.attempt;
  }

  /** Shows how far the job is. Only where it runs. */
  async updateProgress(progress: JobProgress): Promise<void> {
    if (this.lease === undefined) throw new TypeError('only the worker that runs a job can say how far it is');
    const { percent, note } = typeof progress === 'number' ? { percent: progress, note: undefined } : progress;
    const body = { lease: this.lease, percent: Math.round(percent), ...(note === undefined ? {} : { note }) };
    await this.post('progress', body);
    this.progress = progress;
    this.onProgress?.(progress);
  }

  /** Writes a line to standard output with the job and its tenant, so that Switchyard's logs find it by both. */
  log(message: string, fields: Record<string, unknown> = {}): void {
    const record = { level: 'info', message, job: this.id, queue: this.queueName, tenant: this.tenant, ...fields };
    process.stdout.write(`${JSON.stringify(record)}\n`);
  }

  /**
   * Waits until the job has finished and gives its result.
   *
   * @throws JobFailedError when it ends dead or cancelled, WaitTimeoutError when `ttl` is over first.
   */
  async waitUntilFinished(ttl?: Duration): Promise<Result> {
    const end = ttl === undefined ? Infinity : Date.now() + milliseconds(ttl);
    for (;;) {
      const left = Math.max(end - Date.now(), 0);
      const step = Math.ceil(Math.min(left, WAIT_STEP_MS));
      const wire = await this.connection.call<JobWire>({
        method: 'GET',
        path: `${this.path()}/wait?timeout=${step}ms`,
        repeatable: true,
        held: step,
      });
      if (wire.status === 'completed') return wire.result as Result;
      if (wire.status === 'dead' || wire.status === 'cancelled') {
        throw new JobFailedError(this.id, wire.status, wire.error ?? `the job is ${wire.status}`);
      }
      if (Date.now() >= end) throw new WaitTimeoutError(`job ${this.id} is still ${wire.status}`);
    }
  }

  /** Where the job stands now; `unknown` when it is gone. */
  async getState(): Promise<JobStatus | 'unknown'> {
    return (await this.read())?.status ?? 'unknown';
  }

  async isCompleted(): Promise<boolean> {
    return (await this.getState()) === 'completed';
  }

  async isFailed(): Promise<boolean> {
    return (await this.getState()) === 'dead';
  }

  /** Results of the children that this job waited for, by their id. */
  async getChildrenValues<T = unknown>(): Promise<Record<string, T>> {
    const children = (await this.read())?.children ?? [];
    const finished = children.filter((child) => child.status === 'completed');
    return Object.fromEntries(finished.map((child) => [child.id, child.result as T]));
  }

  /** Lets a dead or cancelled job run again, with all its attempts. */
  async retry(): Promise<void> {
    await this.post('retry', {});
  }

  /** Cancels it: one that waits never runs; a worker that runs it sees `signal`. */
  async cancel(): Promise<void> {
    await this.post('cancel', {});
  }

  /** @internal Told by `updateProgress`. */
  onProgress?: (progress: JobProgress) => void;

  private path(): string {
    return `/api/v1/jobs/${encodeURIComponent(this.id)}`;
  }

  private async read(): Promise<JobWire | undefined> {
    return readJob(this.connection, this.id);
  }

  private async post(verb: string, body: object): Promise<void> {
    await this.connection.call({ method: 'POST', path: `${this.path()}/${verb}`, body, repeatable: true });
  }
}

/** @internal One job, or `undefined` when there is none, or none of this tenant. */
export async function readJob(connection: Connection, id: string): Promise<JobWire | undefined> {
  try {
    const path = `/api/v1/jobs/${encodeURIComponent(id)}`;
    return await connection.call<JobWire>({ method: 'GET', path, repeatable: true });
  } catch (error) {
    if (error instanceof SwitchyardError && error.status === 404) return undefined;
    throw error;
  }
}

/** @internal What a claim gives, in the form of a job that was read. */
export function claimedJob(claimed: ClaimedWire, queue: string): JobWire {
  const now = new Date().toISOString();
  return { queue, priority: 5, created_at: now, ...claimed, status: 'active', started_at: now };
}

function time(text: string | null | undefined): number | undefined {
  return text === null || text === undefined ? undefined : Date.parse(text);
}
