"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.WaitTimeoutError = exports.JobFailedError = exports.RetryError = exports.UnrecoverableError = exports.ConnectionError = exports.SwitchyardError = void 0;
/**
 * Switchyard refused a call. `code` is stable and has a page in Switchyard's documentation of errors; compare it rather
 * than the message.
 */
class SwitchyardError extends Error {
    name = 'SwitchyardError';
    /** Such as `queue_unknown`, `job_duplicate`, `queue_full`, `lease_lost`. */
    code;
    /** HTTP status. */
    status;
    /** All that is wrong in the request; empty when the refusal has another reason. */
    faults;
    /** Names the call in Switchyard's logs. */
    requestId;
    /** How long to wait before the next try, in milliseconds, where Switchyard says so. */
    retryAfterMs;
    /** The whole problem document, with what it has beyond the fields above. */
    problem;
    constructor(status, problem, retryAfterMs) {
        const code = problem.code ?? `http_${status}`;
        const faults = problem.errors ?? [];
        const where = faults.map((fault) => `${fault.pointer || 'the body'}: ${fault.detail}`).join('; ');
        const what = problem.detail ?? problem.title ?? `the answer has status ${status}`;
        super(`${what}${where === '' ? '' : `: ${where}`} (${code})`);
        this.code = code;
        this.status = status;
        this.faults = faults;
        this.requestId = problem.request_id;
        this.retryAfterMs = retryAfterMs;
        this.problem = { ...problem };
    }
}
exports.SwitchyardError = SwitchyardError;
/** Switchyard could not be reached, or its answer did not arrive whole. `cause` says why. */
class ConnectionError extends Error {
    name = 'ConnectionError';
    constructor(message, options) {
        super(message, options);
    }
}
exports.ConnectionError = ConnectionError;
/** Thrown by a processor: the job is dead at once, whatever attempts it has left. */
class UnrecoverableError extends Error {
    name = 'UnrecoverableError';
}
exports.UnrecoverableError = UnrecoverableError;
/** Thrown by a processor: the attempt failed, and the next one is due after `delay` rather than by the job's backoff. */
class RetryError extends Error {
    name = 'RetryError';
    /** Milliseconds, or a duration such as `"5m"`. */
    delay;
    constructor(message, delay) {
        super(message);
        this.delay = delay;
    }
}
exports.RetryError = RetryError;
/** A job that was waited for ended dead or cancelled. */
class JobFailedError extends Error {
    name = 'JobFailedError';
    jobId;
    status;
    constructor(jobId, status, reason) {
        super(reason);
        this.jobId = jobId;
        this.status = status;
    }
}
exports.JobFailedError = JobFailedError;
/** A job did not finish in the time that its waiter gave it. It goes on all the same. */
class WaitTimeoutError extends Error {
    name = 'WaitTimeoutError';
}
exports.WaitTimeoutError = WaitTimeoutError;
