"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.Queue = void 0;
const node_crypto_1 = require("node:crypto");
const connection_1 = require("./connection");
const gather_1 = require("./gather");
const job_1 = require("./job");
const options_1 = require("./options");
/** How long one call may work on many jobs, in milliseconds: Switchyard answers after a minute, and says that there are more. */
const SWEEP_MS = 90_000;
/** A queue: adds jobs and looks after them. It must be declared, as `[queues.<name>]` or by the API. */
class Queue {
    name;
    connection;
    own;
    defaults;
    idempotent;
    adds = new gather_1.Gatherer((jobs) => this.send(jobs));
    constructor(name, options = {}) {
        this.name = name;
        ({ connection: this.connection, own: this.own } = (0, connection_1.connect)(options.connection));
        this.defaults = options.defaultJobOptions ?? {};
        this.idempotent = options.idempotent ?? true;
    }
    /**
     * Adds a job. When this returns, the job survives a crash of Switchyard. A repeat after a lost answer adds no second.
     *
     * Adds that are not awaited one by one are gathered: those that come while a request is on its way go together in the next. Each has
     * its own outcome, and they are added in the order in which they were called.
     */
    async add(name, data, options = {}) {
        const body = (0, options_1.newJob)(name, data, { ...this.defaults, ...options });
        return this.job(withPayload(await this.adds.add(body), body));
    }
    /**
     * Adds many jobs, in requests of up to 1,000. The jobs of one request are added together or not at all; where a later
     * request is refused, the jobs of those before it stay.
     */
    async addBulk(items) {
        const bodies = items.map((item) => (0, options_1.newJob)(item.name, item.data, { ...this.defaults, ...item.opts }));
        const added = [];
        for (const jobs of chunks(bodies)) {
            const answer = await this.make(JSON.stringify({ jobs }));
            answer.data.forEach((wire, index) => added.push(this.job(withPayload(wire, jobs[index]))));
        }
        return added;
    }
    /** One job, or `undefined` when there is none of this id. */
    async getJob(id) {
        const wire = await (0, job_1.readJob)(this.connection, id);
        return wire === undefined ? undefined : this.job(wire);
    }
    /** A page of jobs, newest first. */
    async getJobs(filter = {}) {
        const query = new URLSearchParams();
        for (const [name, value] of Object.entries(selected(filter)))
            if (value !== undefined)
                query.set(name, String(value));
        const list = await this.get(`jobs?${query.toString()}`);
        return { jobs: list.data.map((wire) => this.job(wire)), nextCursor: list.next_cursor ?? undefined };
    }
    /** How many jobs wait, wait for their time, run, have completed and are dead. */
    async getJobCounts() {
        const { waiting, delayed, active, completed, dead } = await this.get('');
        return { waiting, delayed, active, completed, dead };
    }
    /** Jobs that have yet to run: waiting or delayed. */
    async count() {
        const { waiting, delayed } = await this.getJobCounts();
        return waiting + delayed;
    }
    /** From now on no job of the queue is given to a worker, anywhere. Jobs that run go on. */
    async pause() {
        await this.post('pause', {});
    }
    async resume() {
        await this.post('resume', {});
    }
    async isPaused() {
        return (await this.get('')).paused;
    }
    /** Removes all jobs that wait, and says how many there were. Those that run go on. */
    async drain() {
        return this.sweep('drain', {});
    }
    /** Lets dead jobs run again, with all their attempts, and says how many there were. */
    async retryJobs(selection = {}) {
        const { limit, ...filter } = selection;
        if (limit === undefined)
            return this.sweep('dead', { filter: selected(filter) });
        // A limit is one call's: the next would begin to count anew.
        return (await this.post('dead', { filter: selected(filter), limit }, SWEEP_MS)).count;
    }
    /** Forgets finished jobs, and says how many there were. */
    async clean(selection = {}) {
        return this.sweep('purge', selected(selection));
    }
    /** Waits for adds that are under way, and ends the queue's own connections. The queue itself stays. */
    async close() {
        await this.adds.idle();
        if (this.own)
            this.connection.close();
    }
    job(wire) {
        return new job_1.Job(this.connection, this.name, wire);
    }
    path(rest) {
        const path = `/api/v1/queues/${encodeURIComponent(this.name)}`;
        return rest === '' ? path : `${path}/${rest}`;
    }
    get(rest) {
        return this.connection.call({ method: 'GET', path: this.path(rest), repeatable: true });
    }
    post(rest, body, held = 0) {
        return this.connection.call({ method: 'POST', path: this.path(rest), body, repeatable: true, held });
    }
    /** Does something to many jobs, in as many calls as it takes. */
    async sweep(rest, body) {
        for (let total = 0;;) {
            const { count, more } = await this.post(rest, body, SWEEP_MS);
            total += count;
            if (more !== true)
                return total;
        }
    }
    async send(jobs) {
        const [only = ''] = jobs;
        if (jobs.length === 1)
            return [await this.make(only)];
        return (await this.make(`{"jobs":[${jobs.join()}]}`)).data;
    }
    /** Adds what the body says, once. */
    make(body) {
        const key = this.idempotent ? { key: (0, node_crypto_1.randomUUID)() } : {};
        const path = this.path('jobs');
        return this.connection.call({ method: 'POST', path, body, repeatable: this.idempotent, ...key });
    }
}
exports.Queue = Queue;
/** A selection as the API takes it. */
function selected(selection) {
    const { from, to, ...rest } = selection;
    return { ...rest, ...(from === undefined ? {} : { from: (0, options_1.moment)(from) }), ...(to === undefined ? {} : { to: (0, options_1.moment)(to) }) };
}
/** Answers to an add need not repeat the payload. */
function withPayload(wire, sent) {
    return { ...wire, payload: wire.payload ?? sent?.payload, tags: wire.tags ?? sent?.tags ?? [] };
}
function* chunks(bodies) {
    let chunk = [];
    let bytes = 0;
    for (const body of bodies) {
        const size = Buffer.byteLength(JSON.stringify(body)) + 1;
        if (chunk.length === gather_1.BULK_JOBS_MAX || (chunk.length > 0 && bytes + size > gather_1.BULK_BYTES_MAX)) {
            yield chunk;
            [chunk, bytes] = [[], 0];
        }
        chunk.push(body);
        bytes += size;
    }
    if (chunk.length > 0)
        yield chunk;
}
