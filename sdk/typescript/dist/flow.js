"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.FlowProducer = void 0;
const node_crypto_1 = require("node:crypto");
const connection_1 = require("./connection");
const job_1 = require("./job");
const options_1 = require("./options");
/** Adds jobs that wait for their children. A tree is added whole or not at all. */
class FlowProducer {
    connection;
    own;
    constructor(options = {}) {
        ({ connection: this.connection, own: this.own } = (0, connection_1.connect)(options.connection));
    }
    /** Adds a tree. The children run at once, side by side; a parent when all of its children are done. */
    async add(flow) {
        const { queue, ...body } = tree(flow);
        const path = `/api/v1/queues/${encodeURIComponent(flow.queueName)}/jobs`;
        const wire = await this.connection.call({ method: 'POST', path, body, repeatable: true, key: (0, node_crypto_1.randomUUID)() });
        return this.node(flow, { ...wire, payload: flow.data, tags: body.tags ?? [] });
    }
    /** Ends the producer's own connections. */
    async close() {
        if (this.own)
            this.connection.close();
    }
    /** The children's ids are asked for once a parent. Ids grow in the order in which jobs are made. */
    async node(flow, wire) {
        const job = new job_1.Job(this.connection, flow.queueName, wire);
        if (flow.children === undefined || flow.children.length === 0)
            return { job };
        const made = (await (0, job_1.readJob)(this.connection, wire.id))?.children ?? [];
        const ids = made.map((child) => child.id).sort();
        const nodes = flow.children.flatMap((child, index) => {
            const id = ids[index];
            return id === undefined ? [] : [this.node(child, unread(child, id, wire))];
        });
        return { job, children: await Promise.all(nodes) };
    }
}
exports.FlowProducer = FlowProducer;
/** A child as it was added, without asking for it. */
function unread(flow, id, parent) {
    const { priority = 5, attempts = parent.attempts, tags } = (0, options_1.newJob)(flow.name, flow.data, flow.opts ?? {});
    const { tenant, created_at } = parent;
    const status = flow.opts?.delay === undefined && flow.opts?.runAt === undefined ? 'waiting' : 'delayed';
    const wire = { id, queue: flow.queueName, status, priority, attempt: 0, attempts, created_at, payload: flow.data, tags: tags ?? [] };
    return tenant === undefined ? wire : { ...wire, tenant };
}
function tree(flow) {
    const body = { ...(0, options_1.newJob)(flow.name, flow.data, flow.opts ?? {}), queue: flow.queueName };
    if (flow.opts?.onChildFailure !== undefined)
        body.on_child_failure = flow.opts.onChildFailure;
    if (flow.children !== undefined && flow.children.length > 0)
        body.children = flow.children.map(tree);
    return body;
}
