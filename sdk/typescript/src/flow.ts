import { randomUUID } from 'node:crypto';
import { connect, type Connection, type ConnectionOptions } from './connection';
import { Job, readJob } from './job';
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
    return this.node(flow, { ...wire, payload: flow.data, tags: body.tags ?? [] });
  }

  /** Ends the producer's own connections. */
  async close(): Promise<void> {
    if (this.own) this.connection.close();
  }

  /** The children's ids are asked for once a parent. Ids grow in the order in which jobs are made. */
  private async node(flow: FlowJob, wire: JobWire): Promise<JobNode> {
    const job = new Job(this.connection, flow.queueName, wire);
    if (flow.children === undefined || flow.children.length === 0) return { job };
    const made = (await readJob(this.connection, wire.id))?.children ?? [];
    const ids = made.map((child) => child.id).sort();
    const nodes = flow.children.flatMap((child, index) => {
      const id = ids[index];
      return id === undefined ? [] : [this.node(child, unread(child, id, wire))];
    });
    return { job, children: await Promise.all(nodes) };
  }
}

/** A child as it was added, without asking for it. */
function unread(flow: FlowJob, id: string, parent: JobWire): JobWire {
  const { priority = 5, attempts = parent.attempts, tags } = newJob(flow.name, flow.data, flow.opts ?? {});
  const { tenant, created_at } = parent;
  const status = flow.opts?.delay === undefined && flow.opts?.runAt === undefined ? 'waiting' : 'delayed';
  const wire: JobWire = { id, queue: flow.queueName, status, priority, attempt: 0, attempts, created_at, payload: flow.data, tags: tags ?? [] };
  return tenant === undefined ? wire : { ...wire, tenant };
}

function tree(flow: FlowJob): NewJobWire {
  const body: NewJobWire = { ...newJob(flow.name, flow.data, flow.opts ?? {}), queue: flow.queueName };
  if (flow.opts?.onChildFailure !== undefined) body.on_child_failure = flow.opts.onChildFailure;
  if (flow.children !== undefined && flow.children.length > 0) body.children = flow.children.map(tree);
  return body;
}
