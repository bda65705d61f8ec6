import type { Connection } from './connection';
import { type Duration } from './options';
import type { Attempt, JobStatus, JobWire } from './wire';
/** How far a job is: 0 to 100, or with a note for people. */
export type JobProgress = number | {
    percent: number;
    note?: string;
};
/** A job as it was when it was read, and what can be done with it. */
export declare class Job<Data = unknown, Result = unknown, Name extends string = string> {
    private readonly connection;
    private readonly lease?;
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
    constructor(connection: Connection, queue: string, wire: JobWire, lease?: string | undefined, signal?: AbortSignal);
    /** Attempts that ended before this one. */
    get attemptsMade(): number;
    /** Shows how far the job is. Only where it runs. */
    updateProgress(progress: JobProgress): Promise<void>;
    /** Writes a line to standard output with the job and its tenant, so that Switchyard's logs find it by both. */
    log(message: string, fields?: Record<string, unknown>): void;
    /**
     * Waits until the job has finished and gives its result.
     *
     * @throws JobFailedError when it ends dead or cancelled, WaitTimeoutError when `ttl` is over first.
     */
    waitUntilFinished(ttl?: Duration): Promise<Result>;
    /** Where the job stands now; `unknown` when it is gone. */
    getState(): Promise<JobStatus | 'unknown'>;
    isCompleted(): Promise<boolean>;
    isFailed(): Promise<boolean>;
    /** Results of the children that this job waited for, by their id. */
    getChildrenValues<T = unknown>(): Promise<Record<string, T>>;
    /** Lets a dead or cancelled job run again, with all its attempts. */
    retry(): Promise<void>;
    /** Cancels it: one that waits never runs; a worker that runs it sees `signal`. */
    cancel(): Promise<void>;
    private path;
    private read;
    private post;
}
