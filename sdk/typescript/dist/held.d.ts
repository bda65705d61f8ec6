import type { Connection } from './connection';
import { Job } from './job';
import type { ClaimedWire, JobWire } from './wire';
/** A job that a worker holds: its lease, its signal and, once it is done, its result. */
export declare class Held<Data, Result, Name extends string> {
    readonly job: Job<Data, Result, Name>;
    readonly lease: string;
    result: Result | undefined;
    /** The result as JSON. */
    text: string;
    isCancelled: boolean;
    isEnded: boolean;
    private readonly controller;
    private readonly timer;
    constructor(connection: Connection, wire: JobWire, claimed: ClaimedWire);
    get signal(): AbortSignal;
    /** Takes what the processor gave. Throws when it cannot be written as JSON. */
    succeed(result: Result): void;
    /** What tells Switchyard that it is done. */
    get completion(): string;
    cancel(): void;
    abort(why: string): void;
    /** The processor has come back, or nothing more is expected of it. */
    end(): void;
}
