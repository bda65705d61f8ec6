"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.Job = void 0;
exports.readJob = readJob;
exports.claimedJob = claimedJob;
const errors_1 = require("./errors");
const options_1 = require("./options");
/** How long one call waits for a job to finish. The next one goes on from there. */
const WAIT_STEP_MS = 20_000;
/** A job as it was when it was read, and what can be done with it. */
class Job {
    connection;
    lease;
    id;
    name;
    queueName;
    data;
    /** Id of the tenant it is for. */
    tenant;
    tags;
    key;
    priority;
    /** The run that this is, from 1; 0 before the first. */
    attempt;
    /** How often it is tried in all. */
    attempts;
    status;
    progress;
    returnvalue;
    failedReason;
    /** When it was added, began and ended, in milliseconds since 1970. */
    timestamp;
    processedOn;
    finishedOn;
    /** Its failed attempts, oldest first, where the job was read by itself. */
    history;
    /** Aborted when somebody cancels it, its time is over, its lease is lost or its worker closes by force. */
    signal;
    /** Jobs are made by queues and workers. `lease` is what proves that a worker holds the job. */
    constructor(connection, queue, wire, lease, signal) {
        this.connection = connection;
        this.lease = lease;
        const { name, tags } = (0, options_1.nameAndTags)(wire.tags);
        this.id = wire.id;
        this.name = name;
        this.queueName = wire.queue ?? queue;
        this.data = wire.payload;
        this.tenant = wire.tenant ?? undefined;
        this.tags = tags;
        this.key = wire.key ?? undefined;
        this.priority = wire.priority;
        this.attempt = wire.attempt;
        this.attempts = wire.attempts;
        this.status = wire.status;
        const { percent, note } = wire.progress ?? { percent: 0 };
        this.progress = note === undefined || note === null ? percent : { percent, note };
        this.returnvalue = (wire.result ?? undefined);
        this.failedReason = wire.error ?? undefined;
        this.timestamp = Date.parse(wire.created_at);
        this.processedOn = time(wire.started_at);
        this.finishedOn = time(wire.finished_at);
        this.history = wire.history ?? [];
        this.signal = signal ?? new AbortController().signal;
    }
    /** Attempts that ended before this one. */
    get attemptsMade() {
        return this.status === 'active' ? this.attempt - 1 : this.attempt;
    }
    /** Shows how far the job is. Only where it runs. */
    async updateProgress(progress) {
        if (this.lease === undefined)
            throw new TypeError('only the worker that runs a job can say how far it is');
        const { percent, note } = typeof progress === 'number' ? { percent: progress, note: undefined } : progress;
        const body = { lease: this.lease, percent: Math.round(percent), ...(note === undefined ? {} : { note }) };
        await this.post('progress', body);
        this.progress = progress;
        this.onProgress?.(progress);
    }
    /** Writes a line to standard output with the job and its tenant, so that Switchyard's logs find it by both. */
    log(message, fields = {}) {
        const record = { level: 'info', message, job: this.id, queue: this.queueName, tenant: this.tenant, ...fields };
        process.stdout.write(`${JSON.stringify(record)}\n`);
    }
    /**
     * Waits until the job has finished and gives its result.
     *
     * @throws JobFailedError when it ends dead or cancelled, WaitTimeoutError when `ttl` is over first.
     */
    async waitUntilFinished(ttl) {
        const end = ttl === undefined ? Infinity : Date.now() + (0, options_1.milliseconds)(ttl);
        for (;;) {
            const left = Math.max(end - Date.now(), 0);
            const step = Math.ceil(Math.min(left, WAIT_STEP_MS));
            const wire = await this.connection.call({
                method: 'GET',
                path: `${this.path()}/wait?timeout=${step}ms`,
                repeatable: true,
                held: step,
            });
            if (wire.status === 'completed')
                return wire.result;
            if (wire.status === 'dead' || wire.status === 'cancelled') {
                throw new errors_1.JobFailedError(this.id, wire.status, wire.error ?? `the job is ${wire.status}`);
            }
            if (Date.now() >= end)
                throw new errors_1.WaitTimeoutError(`job ${this.id} is still ${wire.status}`);
        }
    }
    /** Where the job stands now; `unknown` when it is gone. */
    async getState() {
        return (await this.read())?.status ?? 'unknown';
    }
    async isCompleted() {
        return (await this.getState()) === 'completed';
    }
    async isFailed() {
        return (await this.getState()) === 'dead';
    }
    /** Results of the children that this job waited for, by their id. */
    async getChildrenValues() {
        const children = (await this.read())?.children ?? [];
        const finished = children.filter((child) => child.status === 'completed');
        return Object.fromEntries(finished.map((child) => [child.id, child.result]));
    }
    /** Lets a dead or cancelled job run again, with all its attempts. */
    async retry() {
        await this.post('retry', {});
    }
    /** Cancels it: one that waits never runs; a worker that runs it sees `signal`. */
    async cancel() {
        await this.post('cancel', {});
    }
    /** @internal Told by `updateProgress`. */
    onProgress;
    path() {
        return `/api/v1/jobs/${encodeURIComponent(this.id)}`;
    }
    async read() {
        return readJob(this.connection, this.id);
    }
    async post(verb, body) {
        await this.connection.call({ method: 'POST', path: `${this.path()}/${verb}`, body, repeatable: true });
    }
}
exports.Job = Job;
/** @internal One job, or `undefined` when there is none, or none of this tenant. */
async function readJob(connection, id) {
    try {
        const path = `/api/v1/jobs/${encodeURIComponent(id)}`;
        return await connection.call({ method: 'GET', path, repeatable: true });
    }
    catch (error) {
        if (error instanceof errors_1.SwitchyardError && error.status === 404)
            return undefined;
        throw error;
    }
}
/** @internal What a claim gives, in the form of a job that was read. */
function claimedJob(claimed, queue) {
    const now = new Date().toISOString();
    return { queue, priority: 5, created_at: now, ...claimed, status: 'active', started_at: now };
}
function time(text) {
    return text === null || text === undefined ? undefined : Date.parse(text);
}
