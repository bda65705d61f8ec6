"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.Worker = void 0;
const node_os_1 = require("node:os");
const connection_1 = require("./connection");
const emitter_1 = require("./emitter");
const errors_1 = require("./errors");
const job_1 = require("./job");
const held_1 = require("./held");
const options_1 = require("./options");
const LEASE = '30s';
const HEARTBEAT_MAX_MS = 5_000;
/** How long a claim waits at Switchyard for a job to come. */
const CLAIM_WAIT_MS = 20_000;
/** Claims and acknowledgements in one request. */
const CLAIM_MAX = 1_000;
/** Bytes of results in one request, but for the first one. */
const COMPLETE_BYTES_MAX = 2 * 1024 * 1024;
/** Requests of finished jobs that are under way at a time: while one is answered, the next gathers. */
const COMPLETIONS_MAX = 2;
/** A claim that waits for this long found no job. */
const DRY_MS = 100;
/** Longest text of an error that is sent. */
const ERROR_CHARS_MAX = 8_000;
/** Claims jobs of a queue and runs a function over each. */
class Worker extends emitter_1.Emitter {
    processor;
    name;
    connection;
    own;
    concurrency;
    lease;
    heartbeatMs;
    worker;
    held = new Map();
    /** Finished, and not yet told to Switchyard. */
    done = [];
    running = false;
    isPausing = false;
    /** Jobs whose processor runs, and jobs that requests under way may bring. */
    active = 0;
    asked = 0;
    completions = 0;
    failures = 0;
    isGathering = false;
    isBusy = false;
    isDry = false;
    polling;
    /** Ends with the claim that waits at Switchyard. */
    polled = Promise.resolve();
    /** Requests under way that give jobs back. */
    returns = new Set();
    beating;
    closing;
    stopping = new AbortController();
    idle = [];
    constructor(name, processor, options = {}) {
        super();
        this.processor = processor;
        this.name = name;
        ({ connection: this.connection, own: this.own } = (0, connection_1.connect)(options.connection));
        this.concurrency = options.concurrency ?? 1;
        if (!Number.isInteger(this.concurrency) || this.concurrency < 1) {
            throw new RangeError(`concurrency is a whole number of at least 1, not ${this.concurrency}`);
        }
        this.lease = (0, options_1.duration)(options.lease ?? LEASE);
        this.heartbeatMs = (0, options_1.milliseconds)(options.heartbeat ?? Math.min((0, options_1.milliseconds)(this.lease) / 3, HEARTBEAT_MAX_MS));
        this.worker = options.name ?? `${(0, node_os_1.hostname)()}:${process.pid}`;
        if (options.autorun !== false)
            this.run();
    }
    /** Begins, where `autorun` is false. */
    run() {
        if (this.running || this.closing !== undefined)
            return;
        this.running = true;
        this.advance();
    }
    /** Takes no more jobs, and waits for those that run unless told not to. */
    async pause(doNotWaitActive = false) {
        this.isPausing = true;
        this.polling?.abort();
        if (!doNotWaitActive)
            await Promise.all([this.polled, this.whenIdle()]);
        this.emit('paused');
    }
    resume() {
        if (!this.isPausing)
            return;
        this.isPausing = false;
        this.emit('resumed');
        this.advance();
    }
    isRunning() {
        return this.running && this.closing === undefined;
    }
    isPaused() {
        return this.isPausing;
    }
    /**
     * Ends the worker: takes no more jobs and waits until those that run are done. With `force`, aborts their signals and
     * gives them back to the queue, where the attempt does not count. Jobs that come while it ends are given back as well.
     */
    close(force = false) {
        this.closing ??= this.end(force);
        return this.closing;
    }
    async end(force) {
        this.emit('closing');
        this.polling?.abort();
        if (force)
            await this.giveBack();
        else
            await this.whenIdle();
        await this.polled;
        while (this.returns.size > 0)
            await Promise.all(this.returns);
        this.running = false;
        this.stopping.abort();
        clearInterval(this.beating);
        if (this.own)
            this.connection.close();
        this.emit('closed');
    }
    /** Starts whatever request the state asks for. Called whenever the state has changed. */
    advance() {
        if (!this.running)
            return;
        if (this.done.length > 0 && this.completions < COMPLETIONS_MAX)
            this.gather();
        else if (this.mayClaim() && this.polling === undefined && this.completions === 0)
            this.polled = this.poll();
        this.settle();
        if (this.held.size === 0)
            this.idle.splice(0).forEach((resolve) => resolve());
    }
    /** Lets jobs that end in the same turn of the event loop go into one request. */
    gather() {
        if (this.isGathering)
            return;
        this.isGathering = true;
        setImmediate(() => {
            this.isGathering = false;
            if (this.done.length > 0 && this.completions < COMPLETIONS_MAX)
                void this.complete();
        });
    }
    mayClaim() {
        return this.free() > 0 && !this.isPausing && this.closing === undefined;
    }
    free() {
        return Math.min(this.concurrency - this.active - this.asked, CLAIM_MAX);
    }
    /** Waits at Switchyard for jobs. */
    async poll() {
        const polling = new AbortController();
        this.polling = polling;
        const limit = this.free();
        this.asked += limit;
        this.isDry = false;
        try {
            const answer = await this.connection.call({
                method: 'POST',
                path: this.path('claim'),
                body: { ...this.claim(limit), wait: `${CLAIM_WAIT_MS}ms` },
                // Jobs of an answer that was lost come back when their leases are over.
                repeatable: true,
                held: CLAIM_WAIT_MS,
                hangUp: polling.signal,
            });
            this.failures = 0;
            this.start(answer.data, limit);
        }
        catch (error) {
            if (!polling.signal.aborted)
                await this.rest(error, polling.signal);
        }
        finally {
            this.asked -= limit;
            if (this.polling === polling)
                this.polling = undefined;
        }
        this.advance();
    }
    claim(limit) {
        return { limit, lease: this.lease, worker: this.worker };
    }
    /** Tells of finished jobs and takes new ones by the same request. */
    async complete() {
        const batch = this.done.splice(0, this.fitting());
        const limit = this.mayClaim() && this.polling === undefined ? this.free() : 0;
        this.asked += limit;
        this.completions += 1;
        let wasRepeated = false;
        const claim = limit === 0 ? '' : `,"claim":${JSON.stringify({ ...this.claim(limit), wait: '0s' })}`;
        try {
            const answer = await this.connection.call({
                method: 'POST',
                path: this.path('complete'),
                body: `{"jobs":[${batch.map((held) => held.completion).join()}]${claim}}`,
                repeatable: true,
                onRepeat: () => { wasRepeated = true; },
            });
            this.failures = 0;
            const outcomes = new Map(answer.data.map((outcome) => [outcome.id, outcome]));
            // First the new jobs, so that what listeners do does not hold them up.
            this.start(answer.claimed ?? [], limit);
            for (const held of batch)
                await this.completed(held, outcomes.get(held.job.id), wasRepeated);
        }
        catch (error) {
            await this.refused(batch, error);
        }
        finally {
            this.asked -= limit;
            this.completions -= 1;
        }
        this.advance();
    }
    /** How many finished jobs go into one request. */
    fitting() {
        let bytes = 0;
        // Characters of at most three bytes in UTF-8.
        const over = this.done.findIndex((held, index) => index > 0 && (bytes += held.text.length * 3) > COMPLETE_BYTES_MAX);
        return Math.min(over === -1 ? this.done.length : over, CLAIM_MAX);
    }
    /** One job of an answered request. */
    async completed(held, outcome, wasRepeated) {
        let isDone = outcome !== undefined && outcome.error === undefined;
        if (!isDone && wasRepeated) {
            // The first request may have done it, and its answer was lost.
            isDone = (await (0, job_1.readJob)(this.connection, held.job.id).catch(() => undefined))?.status === 'completed';
        }
        this.release(held);
        if (!isDone) {
            this.emit('stalled', held.job.id);
            return;
        }
        held.job.status = outcome?.status ?? 'completed';
        held.job.returnvalue = held.result;
        held.job.finishedOn = Date.now();
        if (held.job.status === 'cancelled')
            this.emit('failed', held.job, new Error('the job was cancelled'), 'active');
        else
            this.emit('completed', held.job, held.result, 'active');
    }
    /** A request of finished jobs that was refused as a whole, or never answered. */
    async refused(batch, error) {
        const [only] = batch;
        if (!(error instanceof errors_1.SwitchyardError) || error.status >= 500 || error.status === 429) {
            // Their leases are kept by heartbeats meanwhile.
            this.done.unshift(...batch.filter((held) => this.held.get(held.job.id) === held));
            await this.rest(error);
        }
        else if (batch.length === 1 && only !== undefined) {
            // The result is the job's own fault, such as one that is too long.
            await this.fail(only, new errors_1.UnrecoverableError(`the result was refused: ${error.message}`));
        }
        else {
            for (const held of batch) {
                const body = `{"jobs":[${held.completion}]}`;
                try {
                    const answer = await this.connection.call({
                        method: 'POST', path: this.path('complete'), body, repeatable: true,
                    });
                    await this.completed(held, answer.data[0], true);
                }
                catch (again) {
                    await this.refused([held], again);
                }
            }
        }
    }
    /** Runs what a request brought. */
    start(claimed, asked) {
        if (this.closing !== undefined || this.isPausing) {
            // They came when nobody waited for them any more.
            void this.unlease(claimed);
            return;
        }
        this.isDry = claimed.length < asked;
        for (const wire of claimed)
            void this.process(wire);
    }
    /** Tells, once, that nothing is left: nothing runs, and a claim came back short or has waited for a while. */
    settle() {
        if (this.held.size > 0)
            this.isBusy = true;
        if (!this.isBusy || this.held.size > 0)
            return;
        if (this.isDry) {
            this.isBusy = false;
            this.emit('drained');
        }
        else if (this.polling !== undefined) {
            const { polling } = this;
            setTimeout(() => {
                if (this.polling !== polling || this.held.size > 0)
                    return;
                this.isDry = true;
                this.settle();
            }, DRY_MS).unref();
        }
    }
    async process(wire) {
        const held = new held_1.Held(this.connection, (0, job_1.claimedJob)(wire, this.name), wire);
        held.job.onProgress = (progress) => void this.emit('progress', held.job, progress);
        this.held.set(held.job.id, held);
        this.active += 1;
        this.beating ??= setInterval(() => void this.heartbeat(), this.heartbeatMs);
        let failure;
        try {
            this.emit('active', held.job, 'waiting');
            held.succeed(await this.processor(held.job, held.lease, held.signal));
        }
        catch (error) {
            failure = error instanceof Error ? error : new Error(String(error));
        }
        this.active -= 1;
        held.end();
        if (this.held.get(held.job.id) !== held) {
            // Lost or given back meanwhile: what came of it counts for nothing.
        }
        else if (failure === undefined) {
            this.done.push(held);
        }
        else {
            await this.fail(held, failure);
        }
        this.advance();
    }
    async fail(held, failure) {
        const error = (failure.stack ?? failure.message).slice(0, ERROR_CHARS_MAX);
        const retry = !(failure instanceof errors_1.UnrecoverableError) && !held.isCancelled;
        const later = failure instanceof errors_1.RetryError ? { retry_in: (0, options_1.duration)(failure.delay) } : {};
        try {
            const path = `/api/v1/jobs/${encodeURIComponent(held.job.id)}/fail`;
            const body = { lease: held.lease, error, retry, ...later };
            const wire = await this.connection.call({ method: 'POST', path, body, repeatable: true });
            held.job.status = wire.status ?? 'failed';
            held.job.failedReason = failure.message;
            this.release(held);
            this.emit('failed', held.job, failure, 'active');
        }
        catch (refusal) {
            this.release(held);
            if (refusal instanceof errors_1.SwitchyardError && refusal.code === 'lease_lost')
                this.emit('stalled', held.job.id);
            else
                this.report(refusal);
        }
    }
    /** Keeps the leases of all jobs that are held, and learns of those that are cancelled or lost. */
    async heartbeat() {
        const all = [...this.held.values()];
        for (let from = 0; from < all.length; from += CLAIM_MAX) {
            const jobs = all.slice(from, from + CLAIM_MAX).map((held) => ({ id: held.job.id, lease: held.lease }));
            try {
                const body = { jobs };
                const call = { method: 'POST', path: this.path('heartbeat'), body, repeatable: true };
                const answer = await this.connection.call(call);
                answer.data.forEach((outcome) => this.beat(outcome));
            }
            catch (error) {
                this.report(error);
            }
        }
    }
    beat(outcome) {
        const held = this.held.get(outcome.id);
        if (held === undefined)
            return;
        if (outcome.cancel === true)
            held.cancel();
        // A job that is done may be gone because the request that said so is just being answered.
        if (outcome.error === undefined || held.isEnded)
            return;
        held.abort('the lease was lost');
        this.release(held);
        this.emit('stalled', outcome.id);
    }
    async giveBack() {
        const jobs = [...this.held.values()].filter((held) => !held.isEnded);
        for (const held of jobs) {
            held.abort('the worker closes');
            this.release(held);
        }
        await this.unlease(jobs.map((held) => ({ id: held.job.id, lease: held.lease })));
        // What is done already is still told.
        await this.whenIdle();
    }
    /** Gives jobs back to the queue without counting the attempt. */
    async unlease(leases) {
        if (leases.length === 0)
            return;
        const body = { jobs: leases.map(({ id, lease }) => ({ id, lease })) };
        const given = this.connection
            .call({ method: 'POST', path: this.path('release'), body, repeatable: true })
            .catch((error) => this.report(error));
        this.returns.add(given);
        await given;
        this.returns.delete(given);
    }
    release(held) {
        held.end();
        if (this.held.get(held.job.id) === held)
            this.held.delete(held.job.id);
        if (this.held.size > 0)
            return;
        clearInterval(this.beating);
        this.beating = undefined;
    }
    whenIdle() {
        return this.held.size === 0 ? Promise.resolve() : new Promise((resolve) => this.idle.push(resolve));
    }
    /** After a failure: tells of it, and rests a little longer each time. */
    async rest(error, signal = this.stopping.signal) {
        this.report(error);
        const patient = error instanceof errors_1.SwitchyardError && error.status < 500 ? 5 : 0;
        await (0, connection_1.pause)((0, connection_1.pauseMs)(this.failures + patient, error), signal).catch(() => undefined);
        this.failures += 1;
    }
    path(verb) {
        return `/api/v1/queues/${encodeURIComponent(this.name)}/${verb}`;
    }
}
exports.Worker = Worker;
