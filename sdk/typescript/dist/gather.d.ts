import type { JobWire, NewJobWire } from './wire';
/** What one request carries at most: the API takes 1,000 jobs, and bodies of 4 MiB. */
export declare const BULK_JOBS_MAX = 1000;
export declare const BULK_BYTES_MAX: number;
/** Adds jobs, all of them or none, and gives them in their order. */
export type Send = (jobs: readonly string[]) => Promise<readonly JobWire[]>;
/**
 * Gathers single adds: while one request is on its way, those that come wait and go together in the next. One request is under way
 * at a time, so that jobs are added in the order in which they were given.
 *
 * A request is all or nothing. When it is refused for one of its jobs, nothing of it was added, and its halves are sent one after the
 * other until each job has an outcome of its own. How many adds wait is up to the callers, who each hold one.
 */
export declare class Gatherer {
    private readonly send;
    private waiting;
    private running;
    constructor(send: Send);
    add(job: NewJobWire): Promise<JobWire>;
    /** Waits until all adds have their outcome. */
    idle(): Promise<void>;
    private run;
    private take;
    /** Sends these, and gives each its outcome. `full` are the smallest jobs of tenants that found no room. */
    private settle;
}
