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
/** The name of jobs that were added without one. */
export declare const NAME_DEFAULT = "default";
/** A duration as the API writes it. */
export declare function duration(value: Duration): string;
/** A duration in milliseconds. */
export declare function milliseconds(value: Duration): number;
/** A moment as the API writes it. */
export declare function moment(value: Date | string): string;
/** A new job as the API takes it. */
export declare function newJob(name: string, data: unknown, options: JobOptions): NewJobWire;
/** The name among a job's tags, and the tags without it. */
export declare function nameAndTags(tags: readonly string[] | undefined): {
    name: string;
    tags: string[];
};
