/** One thing that is wrong in a request: where (a JSON pointer into the body) and what. */
export interface Fault {
  readonly pointer: string;
  readonly detail: string;
}

/** A problem document (RFC 9457) as Switchyard writes it. */
export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  code?: string;
  errors?: Fault[];
  request_id?: string;
}

/**
 * Switchyard refused a call. `code` is stable and has a page in Switchyard's documentation of errors; compare it rather
 * than the message.
 */
export class SwitchyardError extends Error {
  override readonly name: string = 'SwitchyardError';
  /** Such as `queue_unknown`, `job_duplicate`, `queue_full`, `lease_lost`. */
  readonly code: string;
  /** HTTP status. */
  readonly status: number;
  /** All that is wrong in the request; empty when the refusal has another reason. */
  readonly faults: readonly Fault[];
  /** Names the call in Switchyard's logs. */
  readonly requestId: string | undefined;
  /** How long to wait before the next try, in milliseconds, where Switchyard says so. */
  readonly retryAfterMs: number | undefined;
  /** The whole problem document, with what it has beyond the fields above. */
  readonly problem: Readonly<Record<string, unknown>>;

  constructor(status: number, problem: Problem, retryAfterMs?: number) {
    const code = problem.code ?? `http_${status}`;
    const faults = problem.errors ?? [];
    const where = faults.map((fault) => `${fault.pointer || 'the body'}: ${fault.detail}`).join('; ');
    const what = problem.detail ?? problem.title ?? `the answer has status ${status}`;
    super(`${what}${where === '' ? '' : `: ${where}`} (${code})`);
    this.code = code;
    this.status = status;
    this.faults = faults;
    this.requestId = problem.request_id;
    this.retryAfterMs = retryAfterMs;
    this.problem = { ...problem };
  }
}

/** Switchyard could not be reached, or its answer did not arrive whole. `cause` says why. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError';

  constructor(message: string, options?: { cause: unknown }) {
    super(message, options);
  }
}

/** Thrown by a processor: the job is dead at once, whatever attempts it has left. */
export class UnrecoverableError extends Error {
  override readonly name = 'UnrecoverableError';
}

/** Thrown by a processor: the attempt failed, and the next one is due after `delay` rather than by the job's backoff. */
export class RetryError extends Error {
  override readonly name = 'RetryError';
  /** Milliseconds, or a duration such as `"5m"`. */
  readonly delay: number | string;

  constructor(message: string, delay: number | string) {
    super(message);
    this.delay = delay;
  }
}

/** A job that was waited for ended dead or cancelled. */
export class JobFailedError extends Error {
  override readonly name = 'JobFailedError';
  readonly jobId: string;
  readonly status: 'dead' | 'cancelled';

  constructor(jobId: string, status: 'dead' | 'cancelled', reason: string) {
    super(reason);
    this.jobId = jobId;
    this.status = status;
  }
}

/** A job did not finish in the time that its waiter gave it. It goes on all the same. */
export class WaitTimeoutError extends Error {
  override readonly name = 'WaitTimeoutError';
}
