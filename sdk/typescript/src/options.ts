import type { NewJobWire } from './wire';

/** Milliseconds, or text such as `"250ms"`, `"5s"`, `"1h30m"`, `"30d"`. */
export type Duration = number | string;

/** How long a job rests after a failed attempt. */
export interface Backoff {
  /** `exponential` doubles with each attempt. */
  type: 'exponential' | 'fixed';
  /** The first rest. */
  delay: Duration;
  /** The longest rest. */
  max?: Duration;
  /** Whether rests are spread at random, between half and the whole (true), so that jobs that failed together do not come back at once. */
  jitter?: boolean;
}

/** A key that only one unfinished job of the tenant and queue may have. */
export interface Unique {
  key: string;
  /** Counts jobs that finished less than this ago, too. */
  within?: Duration;
  /** `reject` (the default) throws `job_duplicate`; `existing` answers with the job that is there. */
  onDuplicate?: 'reject' | 'existing';
}

/** What a job may have. What is left out is decided by the queue. */
export interface JobOptions {
  /** For whom the job is, by id or slug. Not needed with a tenant's own key, or where the connection names one. */
  tenant?: string;
  delay?: Duration;
  /** Instead of `delay`: not before this time. */
  runAt?: Date | string;
  /** 0 (first) to 9; 5 where nothing is said. */
  priority?: number;
  /** How often the job is tried in all. */
  attempts?: number;
  /** A plain number is a fixed rest in milliseconds. */
  backoff?: number | Backoff;
  /** Longest run of one attempt. */
  timeout?: Duration;
  unique?: string | Unique;
  /** Jobs of one key share the queue's limits per key, and take turns with other keys of their tenant. */
  key?: string;
  tags?: readonly string[];
  /** How long the finished job and its result can be read. */
  keep?: Duration;
}

const PRIORITY_LAST = 9;
/** A job's name travels as a tag, so that lists and bulk operations can pick by it. */
const NAME_TAG = 'name:';
/** The name of jobs that were added without one. */
export const NAME_DEFAULT = 'default';

/** A duration as the API writes it. */
export function duration(value: Duration): string {
  if (typeof value === 'string') return value;
  if (!Number.isFinite(value) || value < 0) throw new RangeError(`a duration of at least 0 ms is expected, not ${value}`);
  return `${Math.round(value)}ms`;
}

/** A duration in milliseconds. */
export function milliseconds(value: Duration): number {
  if (typeof value === 'number') return value;
  const units: Record<string, number> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1, us: 0.001 };
  const parts = [...value.matchAll(/(\d+)(d|h|ms|us|m|s)/gy)];
  const read = parts.reduce((length, part) => length + part[0].length, 0);
  if (parts.length === 0 || read !== value.length) throw new RangeError(`${JSON.stringify(value)} is no duration such as "5s"`);
  return parts.reduce((sum, part) => sum + Number(part[1]) * (units[part[2] ?? ''] ?? 0), 0);
}

/** A moment as the API writes it. */
export function moment(value: Date | string): string {
  return value instanceof Date ? value.toISOString() : value;
}

/** A new job as the API takes it. */
export function newJob(name: string, data: unknown, options: JobOptions): NewJobWire {
  const job: NewJobWire = { payload: data === undefined ? {} : data };
  const tags = [...(name === NAME_DEFAULT ? [] : [NAME_TAG + name]), ...(options.tags ?? [])];
  if (tags.length > 0) job.tags = tags;
  if (options.tenant !== undefined) job.tenant = options.tenant;
  if (options.delay !== undefined) job.delay = duration(options.delay);
  if (options.runAt !== undefined) job.run_at = moment(options.runAt);
  if (options.priority !== undefined) job.priority = priority(options.priority);
  if (options.attempts !== undefined) job.attempts = options.attempts;
  if (options.backoff !== undefined) job.backoff = backoff(options.backoff);
  if (options.timeout !== undefined) job.timeout = duration(options.timeout);
  if (options.unique !== undefined) job.unique = unique(options.unique);
  if (options.key !== undefined) job.key = options.key;
  if (options.keep !== undefined) job.keep = duration(options.keep);
  return job;
}

/** The name among a job's tags, and the tags without it. */
export function nameAndTags(tags: readonly string[] | undefined): { name: string; tags: string[] } {
  const named = tags?.find((tag) => tag.startsWith(NAME_TAG));
  return { name: named?.slice(NAME_TAG.length) ?? NAME_DEFAULT, tags: (tags ?? []).filter((tag) => tag !== named) };
}

function priority(value: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= PRIORITY_LAST) return value;
  throw new RangeError(`a priority is a whole number from 0 (first) to ${PRIORITY_LAST}, not ${value}`);
}

function backoff(value: number | Backoff): NonNullable<NewJobWire['backoff']> {
  if (typeof value === 'number') return { kind: 'fixed', base: duration(value) };
  const { type: kind, delay, max, jitter } = value;
  return {
    kind,
    base: duration(delay),
    ...(max === undefined ? {} : { max: duration(max) }),
    ...(jitter === undefined ? {} : { jitter }),
  };
}

function unique(value: string | Unique): NonNullable<NewJobWire['unique']> {
  if (typeof value === 'string') return value;
  const { key, within, onDuplicate } = value;
  return {
    key,
    ...(within === undefined ? {} : { within: duration(within) }),
    ...(onDuplicate === undefined ? {} : { on_duplicate: onDuplicate }),
  };
}
