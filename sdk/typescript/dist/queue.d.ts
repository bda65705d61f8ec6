import { type Connection, type ConnectionOptions } from './connection';
import { Job } from './job';
import { type JobOptions } from './options';
import type { JobCounts, JobStatus } from './wire';
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
/** A queue: adds jobs and looks after them. It must be declared, as `[queues.<name>]` or by the API. */
export declare class Queue<Data = any, Result = any, Name extends string = string> {
    readonly name: string;
    private readonly connection;
    private readonly own;
    private readonly defaults;
    private readonly idempotent;
    private readonly adds;
    constructor(name: string, options?: QueueOptions);
    /**
     * Adds a job. When this returns, the job survives a crash of Switchyard. A repeat after a lost answer adds no second.
     *
     * Adds that are not awaited one by one are gathered: those that come while a request is on its way go together in the next. Each has
     * its own outcome, and they are added in the order in which they were called.
     */
    add(name: Name, data: Data, options?: JobOptions): Promise<Job<Data, Result, Name>>;
    /**
     * Adds many jobs, in requests of up to 1,000. The jobs of one request are added together or not at all; where a later
     * request is refused, the jobs of those before it stay.
     */
    addBulk(items: readonly AddManyItem<Data, Name>[]): Promise<Job<Data, Result, Name>[]>;
    /** One job, or `undefined` when there is none of this id. */
    getJob(id: string): Promise<Job<Data, Result, Name> | undefined>;
    /** A page of jobs, newest first. */
    getJobs(filter?: JobFilter): Promise<JobPage<Data, Result, Name>>;
    /** How many jobs wait, wait for their time, run, have completed and are dead. */
    getJobCounts(): Promise<JobCounts>;
    /** Jobs that have yet to run: waiting or delayed. */
    count(): Promise<number>;
    /** From now on no job of the queue is given to a worker, anywhere. Jobs that run go on. */
    pause(): Promise<void>;
    resume(): Promise<void>;
    isPaused(): Promise<boolean>;
    /** Removes all jobs that wait, and says how many there were. Those that run go on. */
    drain(): Promise<number>;
    /** Lets dead jobs run again, with all their attempts, and says how many there were. */
    retryJobs(selection?: JobSelection & {
        limit?: number;
    }): Promise<number>;
    /** Forgets finished jobs, and says how many there were. */
    clean(selection?: JobSelection): Promise<number>;
    /** Waits for adds that are under way, and ends the queue's own connections. The queue itself stays. */
    close(): Promise<void>;
    private job;
    private path;
    private get;
    private post;
    /** Does something to many jobs, in as many calls as it takes. */
    private sweep;
    private send;
    /** Adds what the body says, once. */
    private make;
}
