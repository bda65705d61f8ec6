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
