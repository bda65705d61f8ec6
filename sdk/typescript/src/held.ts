import type { Connection } from './connection';
import { Job } from './job';
import { milliseconds } from './options';
import type { ClaimedWire, JobWire } from './wire';

/** Longest delay that a timer of Node.js takes. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** A job that a worker holds: its lease, its signal and, once it is done, its result. */
export class Held<Data, Result, Name extends string> {
  readonly job: Job<Data, Result, Name>;
  readonly lease: string;
  result: Result | undefined;
  /** The result as JSON. */
  text = 'null';
  isCancelled = false;
  isEnded = false;
  private readonly controller = new AbortController();
  private readonly timer: NodeJS.Timeout | undefined;

  constructor(connection: Connection, wire: JobWire, claimed: ClaimedWire) {
    this.lease = claimed.lease;
    this.job = new Job(connection, wire.queue, wire, claimed.lease, this.controller.signal);
    if (typeof claimed.timeout === 'string') {
      const limit = Math.min(milliseconds(claimed.timeout), TIMER_MAX_MS);
      this.timer = setTimeout(() => this.abort(`the job ran longer than its time-out of ${claimed.timeout}`), limit);
    }
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** Takes what the processor gave. Throws when it cannot be written as JSON. */
  succeed(result: Result): void {
    // Nothing, as a function without `return` gives it, is null in JSON.
    this.text = JSON.stringify(result) ?? 'null';
    this.result = result;
  }

  /** What tells Switchyard that it is done. */
  get completion(): string {
    return `{"id":${JSON.stringify(this.job.id)},"lease":${JSON.stringify(this.lease)},"result":${this.text}}`;
  }

  cancel(): void {
    if (this.isCancelled) return;
    this.isCancelled = true;
    this.abort('the job was cancelled');
  }

  abort(why: string): void {
    if (!this.isEnded) this.controller.abort(new Error(why));
  }

  /** The processor has come back, or nothing more is expected of it. */
  end(): void {
    this.isEnded = true;
    clearTimeout(this.timer);
  }
}
