/** Bodies of the API, field for field. Clients ignore fields that they do not know. */
/** `failed` is the outcome of an attempt; a job itself ends completed, dead or cancelled. */
export type JobStatus = 'waiting' | 'delayed' | 'active' | 'completed' | 'failed' | 'dead' | 'cancelled';
export interface NewJobWire {
    payload: unknown;
    queue?: string;
    tenant?: string;
    delay?: string;
    run_at?: string;
    priority?: number;
    attempts?: number;
    backoff?: {
        kind: 'exponential' | 'fixed';
        base: string;
        max?: string;
        jitter?: boolean;
    };
    timeout?: string;
    unique?: string | {
        key: string;
        within?: string;
        on_duplicate?: 'reject' | 'existing';
    };
    key?: string;
    tags?: string[];
    keep?: string;
    children?: NewJobWire[];
    on_child_failure?: 'fail' | 'ignore';
}
/** A failed attempt of a job. */
export interface Attempt {
    readonly attempt: number;
    readonly outcome: string;
    readonly error?: string;
    readonly started_at?: string;
    readonly ended_at?: string;
    readonly worker?: string;
}
export interface JobWire {
    id: string;
    queue: string;
    tenant?: string | null;
    status: JobStatus;
    priority: number;
    attempt: number;
    attempts: number;
    run_at?: string;
    created_at: string;
    started_at?: string | null;
    finished_at?: string | null;
    payload?: unknown;
    result?: unknown;
    error?: string | null;
    progress?: {
        percent: number;
        note?: string | null;
    } | null;
    tags?: string[];
    key?: string | null;
    pending_children?: number;
    history?: Attempt[];
    children?: ChildWire[];
}
/** A child of a job that was read; without `status` while it has not ended. */
export interface ChildWire {
    id: string;
    status?: JobStatus;
    result?: unknown;
}
/** A job as a claim gives it. */
export interface ClaimedWire {
    id: string;
    queue?: string;
    tenant?: string | null;
    payload: unknown;
    attempt: number;
    attempts: number;
    lease: string;
    lease_until?: string;
    timeout?: string | null;
    priority?: number;
    created_at?: string;
    tags?: string[];
    key?: string | null;
}
export interface ListWire<T> {
    data: T[];
    next_cursor?: string | null;
}
export interface LeaseOutcomeWire {
    id: string;
    status?: JobStatus;
    cancel?: boolean;
    lease_until?: string;
    error?: {
        code: string;
        detail?: string;
    };
}
export interface CompletedWire {
    data: LeaseOutcomeWire[];
    claimed?: ClaimedWire[];
}
/** How many jobs a bulk operation was about; with `more` it ended for its time, and goes on when it is asked again. */
export interface SweptWire {
    count: number;
    more?: boolean;
}
/** Numbers of jobs by where they stand. */
export interface JobCounts {
    waiting: number;
    delayed: number;
    active: number;
    completed: number;
    dead: number;
}
export interface QueueWire extends JobCounts {
    name: string;
    paused: boolean;
    oldest_waiting_ms?: number | null;
}
