import { SwitchyardError } from './errors';
import type { JobWire, NewJobWire } from './wire';

/** What one request carries at most: the API takes 1,000 jobs, and bodies of 4 MiB. */
export const BULK_JOBS_MAX = 1_000;
export const BULK_BYTES_MAX = 4 * 1024 * 1024 - 1024;

/** Adds jobs, all of them or none, and gives them in their order. */
export type Send = (jobs: readonly string[]) => Promise<readonly JobWire[]>;

/** An add whose caller waits. */
interface Waiting {
  /** The job as JSON. */
  readonly text: string;
  readonly bytes: number;
  readonly tenant: string | undefined;
  readonly resolve: (wire: JobWire) => void;
  readonly reject: (error: Error) => void;
}

/** A job for which there was no room: one of the same tenant that is as large does not fit either. */
interface Full {
  readonly bytes: number;
  readonly error: Error;
}

/** Refusals for what a job is: bad, there already, too large, invalid. Others are for who asks, or where. */
const OF_ONE = [400, 409, 413, 422];

/**
 * Gathers single adds: while one request is on its way, those that come wait and go together in the next. One request is under way
 * at a time, so that jobs are added in the order in which they were given.
 *
 * A request is all or nothing. When it is refused for one of its jobs, nothing of it was added, and its halves are sent one after the
 * other until each job has an outcome of its own. How many adds wait is up to the callers, who each hold one.
 */
export class Gatherer {
  private waiting: Waiting[] = [];
  private running: Promise<void> | undefined;

  constructor(private readonly send: Send) {}

  add(job: NewJobWire): Promise<JobWire> {
    const text = JSON.stringify(job);
    const bytes = Buffer.byteLength(text) + 1;
    return new Promise((resolve, reject) => {
      this.waiting.push({ text, bytes, tenant: job.tenant, resolve, reject });
      this.running ??= this.run();
    });
  }

  /** Waits until all adds have their outcome. */
  async idle(): Promise<void> {
    while (this.running !== undefined) await this.running;
  }

  private async run(): Promise<void> {
    while (this.waiting.length > 0) {
      // Lets whatever is added in this turn of the event loop come along.
      await new Promise(setImmediate);
      await this.settle(this.take(), new Map());
    }
    this.running = undefined;
  }

  private take(): Waiting[] {
    let bytes = 0;
    const over = this.waiting.findIndex((one, index) => index > 0 && (bytes += one.bytes) + (this.waiting[0]?.bytes ?? 0) > BULK_BYTES_MAX);
    return this.waiting.splice(0, Math.min(over === -1 ? this.waiting.length : over, BULK_JOBS_MAX));
  }

  /** Sends these, and gives each its outcome. `full` are the smallest jobs of tenants that found no room. */
  private async settle(all: readonly Waiting[], full: Map<string | undefined, Full>): Promise<void> {
    const batch = all.filter(({ tenant, bytes, reject }) => {
      const known = full.get(tenant);
      if (known === undefined || bytes < known.bytes) return true;
      reject(known.error);
      return false;
    });
    const [only] = batch;
    if (only === undefined) return;
    try {
      const wires = await this.send(batch.map((one) => one.text));
      batch.forEach((one, index) => {
        const wire = wires[index];
        if (wire === undefined) one.reject(new Error('the answer to an add names fewer jobs than were sent'));
        else one.resolve(wire);
      });
    } catch (error) {
      if (batch.length > 1 && isOfOne(error)) {
        const middle = batch.length >> 1;
        await this.settle(batch.slice(0, middle), full);
        await this.settle(batch.slice(middle), full);
        return;
      }
      // Room does not come back while the rest is sent: it is not asked for again and again.
      if (isFull(error)) full.set(only.tenant, { bytes: only.bytes, error });
      batch.forEach((one) => one.reject(error as Error));
    }
  }
}

function isFull(error: unknown): error is SwitchyardError {
  return error instanceof SwitchyardError && error.code === 'queue_full';
}

/** Whether a request was refused for what one of its jobs is, so that others of it may be added. */
function isOfOne(error: unknown): boolean {
  return isFull(error) || (error instanceof SwitchyardError && OF_ONE.includes(error.status));
}
