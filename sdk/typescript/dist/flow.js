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
        return this.node(flow, wire);
    }
    /** Ends the producer's own connections. */
    async close() {
        if (this.own)
            this.connection.close();
    }
    node(flow, wire) {
        const job = new job_1.Job(this.connection, flow.queueName, { ...wire, payload: wire.payload ?? flow.data });
        const pairs = (flow.children ?? []).map((child, index) => ({ child, added: wire.children?.[index] }));
        const children = pairs.flatMap(({ child, added }) => (added === undefined ? [] : [this.node(child, added)]));
        return children.length === 0 ? { job } : { job, children };
    }
}
exports.FlowProducer = FlowProducer;
function tree(flow) {
    const body = { ...(0, options_1.newJob)(flow.name, flow.data, flow.opts ?? {}), queue: flow.queueName };
    if (flow.opts?.onChildFailure !== undefined)
        body.on_child_failure = flow.opts.onChildFailure;
    if (flow.children !== undefined && flow.children.length > 0)
        body.children = flow.children.map(tree);
    return body;
}
