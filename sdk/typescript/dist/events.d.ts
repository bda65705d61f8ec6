import { type Connection, type ConnectionOptions } from './connection';
import { Emitter } from './emitter';
import type { JobProgress } from './job';
export interface QueueEventsOptions {
    /** As of a queue. */
    connection?: Connection | ConnectionOptions;
    /** Goes on after this event, where Switchyard still has what followed it. Default: from now on. */
    lastEventId?: string;
    /** Whether to begin at once (true) or when `run()` is called. */
    autorun?: boolean;
}
interface About {
    jobId: string;
    tenant: string | undefined;
}
/** What is told, each with the id of the event, from which a later `QueueEvents` can go on. */
export interface QueueEventsListeners<Result = any> {
    added: (about: About, eventId: string) => void;
    active: (about: About & {
        attempt: number | undefined;
    }, eventId: string) => void;
    progress: (about: About & {
        data: JobProgress;
    }, eventId: string) => void;
    completed: (about: About & {
        returnvalue: Result;
    }, eventId: string) => void;
    /** An attempt failed, or its worker was lost, and another will follow. */
    retrying: (about: About & {
        failedReason: string;
        attempt: number | undefined;
    }, eventId: string) => void;
    /** The job is dead: it failed for the last time. */
    failed: (about: About & {
        failedReason: string;
    }, eventId: string) => void;
    cancelled: (about: About, eventId: string) => void;
    /** A worker lost its lease. */
    stalled: (about: About, eventId: string) => void;
    drained: (eventId: string) => void;
    paused: (eventId: string) => void;
    resumed: (eventId: string) => void;
    /** Events were missed: what followed `lastEventId` is no longer there. Read what matters anew. */
    gap: (eventId: string) => void;
    /** Connected, for the first time or again. */
    ready: () => void;
    /** The stream broke; it is opened again by itself. */
    error: (error: Error) => void;
}
/** Tells what happens in a queue, in whatever process. Goes on without a gap after a broken connection. */
export declare class QueueEvents<Result = any> extends Emitter<QueueEventsListeners<Result>> {
    readonly name: string;
    private readonly connection;
    private readonly own;
    private readonly stopping;
    private lastEventId;
    private running;
    private ready;
    /** Why the newest attempt of a job failed, until it is told what comes of it. */
    private readonly failures;
    constructor(name: string, options?: QueueEventsOptions);
    /** Begins, where `autorun` is false. Ends when it is closed. */
    run(): Promise<void>;
    /** Waits until events that happen from now on are told. */
    waitUntilReady(): Promise<void>;
    close(): Promise<void>;
    private follow;
    /** Reads events until the stream ends. */
    private consume;
    private tell;
    private keep;
    private reason;
}
export {};
