import { type Connection, type ConnectionOptions } from './connection';
import { Emitter } from './emitter';
import { Job, type JobProgress } from './job';
import { type Duration } from './options';
/**
 * Does the work of one job; what it returns is the job's result. Throwing fails the attempt. A job may be run more than once
 * (a worker may die after the work and before it says so), so effects outside must bear being repeated: `job.id` stays the same.
 *
 * `signal` is aborted when somebody cancels the job, its time is over, its lease is lost or the worker closes by force.
 */
export type Processor<Data, Result, Name extends string> = (job: Job<Data, Result, Name>, token: string, signal: AbortSignal) => Promise<Result> | Result;
export interface WorkerOptions {
    /** As of a queue. */
    connection?: Connection | ConnectionOptions;
    /** Jobs that run side by side (1). The queue's own limits hold over all workers. */
    concurrency?: number;
    /** How long Switchyard holds a job for a worker that it does not hear of (`"30s"`); extended by heartbeats. */
    lease?: Duration;
    /** Pause between heartbeats; also how soon a cancellation is seen. Default: 5 s, or a third of the lease. */
    heartbeat?: Duration;
    /** Name of this worker in histories of attempts. Default: host and process. */
    name?: string;
    /** Whether to begin at once (true) or when `run()` is called. */
    autorun?: boolean;
}
export interface WorkerListeners<Data = any, Result = any, Name extends string = string> {
    active: (job: Job<Data, Result, Name>, previous: 'waiting') => void;
    /** Switchyard has the result. */
    completed: (job: Job<Data, Result, Name>, result: Result, previous: 'active') => void;
    /** An attempt failed. `job.status` says what comes of it: `waiting`, `delayed`, `dead` or `cancelled`. */
    failed: (job: Job<Data, Result, Name>, error: Error, previous: 'active') => void;
    progress: (job: Job<Data, Result, Name>, progress: JobProgress) => void;
    /** The lease was lost: another worker may have the job, and what this one did does not count. */
    stalled: (jobId: string) => void;
    /** No job is left to do. */
    drained: () => void;
    paused: () => void;
    resumed: () => void;
    closing: () => void;
    closed: () => void;
    /** Something did not work; the worker goes on by itself. */
    error: (error: Error) => void;
}
/** Claims jobs of a queue and runs a function over each. */
export declare class Worker<Data = any, Result = any, Name extends string = string> extends Emitter<WorkerListeners<Data, Result, Name>> {
    private readonly processor;
    readonly name: string;
    private readonly connection;
    private readonly own;
    private readonly concurrency;
    private readonly lease;
    private readonly heartbeatMs;
    private readonly worker;
    private readonly held;
    /** Finished, and not yet told to Switchyard. */
    private done;
    private running;
    private isPausing;
    /** Jobs whose processor runs, and jobs that requests under way may bring. */
    private active;
    private asked;
    private completions;
    private failures;
    private isGathering;
    private isBusy;
    private isDry;
    private polling;
    /** Ends with the claim that waits at Switchyard. */
    private polled;
    /** Requests under way that give jobs back. */
    private readonly returns;
    private beating;
    private closing;
    private readonly stopping;
    private idle;
    constructor(name: string, processor: Processor<Data, Result, Name>, options?: WorkerOptions);
    /** Begins, where `autorun` is false. */
    run(): void;
    /** Takes no more jobs, and waits for those that run unless told not to. */
    pause(doNotWaitActive?: boolean): Promise<void>;
    resume(): void;
    isRunning(): boolean;
    isPaused(): boolean;
    /**
     * Ends the worker: takes no more jobs and waits until those that run are done. With `force`, aborts their signals and
     * gives them back to the queue, where the attempt does not count. Jobs that come while it ends are given back as well.
     */
    close(force?: boolean): Promise<void>;
    private end;
    /** Starts whatever request the state asks for. Called whenever the state has changed. */
    private advance;
    /** Lets jobs that end in the same turn of the event loop go into one request. */
    private gather;
    private mayClaim;
    private free;
    /** Waits at Switchyard for jobs. */
    private poll;
    private claim;
    /** Tells of finished jobs and takes new ones by the same request. */
    private complete;
    /** How many finished jobs go into one request. */
    private fitting;
    /** One job of an answered request. */
    private completed;
    /** A request of finished jobs that was refused as a whole, or never answered. */
    private refused;
    /** Runs what a request brought. */
    private start;
    /** Tells, once, that nothing is left: nothing runs, and a claim came back short or has waited for a while. */
    private settle;
    private process;
    private fail;
    /** Keeps the leases of all jobs that are held, and learns of those that are cancelled or lost. */
    private heartbeat;
    private beat;
    private giveBack;
    /** Gives jobs back to the queue without counting the attempt. */
    private unlease;
    private release;
    private whenIdle;
    /** After a failure: tells of it, and rests a little longer each time. */
    private rest;
    private path;
}
