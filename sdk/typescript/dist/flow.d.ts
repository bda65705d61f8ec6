import { type Connection, type ConnectionOptions } from './connection';
import { Job } from './job';
import { type JobOptions } from './options';
export interface FlowOptions {
    /** As of a queue. */
    connection?: Connection | ConnectionOptions;
}
/** A job with those that must be done before it. */
export interface FlowJob {
    name: string;
    queueName: string;
    data?: unknown;
    opts?: JobOptions & {
        /** What a child that is dead or cancelled means for this job: `fail` (the default) or `ignore`. */
        onChildFailure?: 'fail' | 'ignore';
    };
    children?: FlowJob[];
}
/** What was added. */
export interface JobNode {
    job: Job;
    children?: JobNode[];
}
/** Adds jobs that wait for their children. A tree is added whole or not at all. */
export declare class FlowProducer {
    private readonly connection;
    private readonly own;
    constructor(options?: FlowOptions);
    /** Adds a tree. The children run at once, side by side; a parent when all of its children are done. */
    add(flow: FlowJob): Promise<JobNode>;
    /** Ends the producer's own connections. */
    close(): Promise<void>;
    /** The children's ids are asked for once a parent. Ids grow in the order in which jobs are made. */
    private node;
}
