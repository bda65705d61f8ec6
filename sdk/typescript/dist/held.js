"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.Held = void 0;
const job_1 = require("./job");
const options_1 = require("./options");
/** Longest delay that a timer of Node.js takes. */
const TIMER_MAX_MS = 2 ** 31 - 1;
/** A job that a worker holds: its lease, its signal and, once it is done, its result. */
class Held {
    job;
    lease;
    result;
    /** The result as JSON. */
    text = 'null';
    isCancelled = false;
    isEnded = false;
    controller = new AbortController();
    timer;
    constructor(connection, wire, claimed) {
        this.lease = claimed.lease;
        this.job = new job_1.Job(connection, wire.queue, wire, claimed.lease, this.controller.signal);
        if (typeof claimed.timeout === 'string') {
            const limit = Math.min((0, options_1.milliseconds)(claimed.timeout), TIMER_MAX_MS);
            this.timer = setTimeout(() => this.abort(`the job ran longer than its time-out of ${claimed.timeout}`), limit);
        }
    }
    get signal() {
        return this.controller.signal;
    }
    /** Takes what the processor gave. Throws when it cannot be written as JSON. */
    succeed(result) {
        // Nothing, as a function without `return` gives it, is null in JSON.
        this.text = JSON.stringify(result) ?? 'null';
        this.result = result;
    }
    /** What tells Switchyard that it is done. */
    get completion() {
        return `{"id":${JSON.stringify(this.job.id)},"lease":${JSON.stringify(this.lease)},"result":${this.text}}`;
    }
    cancel() {
        if (this.isCancelled)
            return;
        this.isCancelled = true;
        this.abort('the job was cancelled');
    }
    abort(why) {
        if (!this.isEnded)
            this.controller.abort(new Error(why));
    }
    /** The processor has come back, or nothing more is expected of it. */
    end() {
        this.isEnded = true;
        clearTimeout(this.timer);
    }
}
exports.Held = Held;
