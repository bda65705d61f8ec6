/**
 * Queues of Switchyard, in the shape that users of BullMQ know.
 *
 * - {@link Queue} adds jobs and looks after a queue,
 * - {@link Worker} runs a function over each job,
 * - {@link QueueEvents} tells what happens in a queue, in any process,
 * - {@link FlowProducer} adds a job that waits for its children,
 * - {@link Connection} is shared by all of them; without one, each makes its own from `SWITCHYARD_URL` and
 *   `SWITCHYARD_TOKEN`, which Switchyard gives to every service.
 */
export { Connection, type ConnectionOptions } from './connection';
export { ConnectionError, JobFailedError, RetryError, SwitchyardError, UnrecoverableError, WaitTimeoutError, type Fault, } from './errors';
export { QueueEvents, type QueueEventsListeners, type QueueEventsOptions } from './events';
export { FlowProducer, type FlowJob, type FlowOptions, type JobNode } from './flow';
export { Job, type JobProgress } from './job';
export type { Backoff, Duration, JobOptions, Unique } from './options';
export { Queue, type AddManyItem, type JobFilter, type JobPage, type JobSelection, type QueueOptions } from './queue';
export type { Attempt, JobCounts, JobStatus } from './wire';
export { Worker, type Processor, type WorkerListeners, type WorkerOptions } from './worker';
