import { randomUUID } from 'node:crypto';
import { connect, type Connection, type ConnectionOptions } from './connection';
import { Job } from './job';
import { newJob, type JobOptions } from './options';
import type { JobWire, NewJobWire } from './wire';

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
export class FlowProducer {
  private readonly connection: Connection;
  private readonly own: boolean;

  constructor(options: FlowOptions = {}) {
    ({ connection: this.connection, own: this.own } = connect(options.connection));
  }

  /** Adds a tree. The children run at once, side by side; a parent when all of its children are done. */
  async add(flow: FlowJob): Promise<JobNode> {
    const { queue, ...body } = tree(flow);
    const path = `/api/v1/queues/${encodeURIComponent(flow.queueName)}/jobs`;
    const wire = await this.connection.call<JobWire>({ method: 'POST', path, body, repeatable: true, key: randomUUID() });
    return this.node(flow, wire);
  }

  /** Ends the producer's own connections. */
  async close(): Promise<void> {
    if (this.own) this.connection.close();
  }

  private node(flow: FlowJob, wire: JobWire): JobNode {
    const job = new Job(this.connection, flow.queueName, { ...wire, payload: wire.payload ?? flow.data });
    const pairs = (flow.children ?? []).map((child, index) => ({ child, added: wire.children?.[index] }));
    const children = pairs.flatMap(({ child, added }) => (added === undefined ? [] : [this.node(child, added)]));
    return children.length === 0 ? { job } : { job, children };
  }
}

function tree(flow: FlowJob): NewJobWire {
  const body: NewJobWire = { ...newJob(flow.name, flow.data, flow.opts ?? {}), queue: flow.queueName };
  if (flow.opts?.onChildFailure !== undefined) body.on_child_failure = flow.opts.onChildFailure;
  if (flow.children !== undefined && flow.children.length > 0) body.children = flow.children.map(tree);
  return body;
}
