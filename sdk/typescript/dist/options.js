"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.NAME_DEFAULT = void 0;
exports.duration = duration;
exports.milliseconds = milliseconds;
exports.moment = moment;
exports.newJob = newJob;
exports.nameAndTags = nameAndTags;
const PRIORITY_LAST = 9;
/** A job's name travels as a tag, so that lists and bulk operations can pick by it. */
const NAME_TAG = 'name:';
/** The name of jobs that were added without one. */
exports.NAME_DEFAULT = 'default';
/** A duration as the API writes it. */
function duration(value) {
    if (typeof value === 'string')
        return value;
    if (!Number.isFinite(value) || value < 0)
        throw new RangeError(`a duration of at least 0 ms is expected, not ${value}`);
    return `${Math.round(value)}ms`;
}
/** A duration in milliseconds. */
function milliseconds(value) {
    if (typeof value === 'number')
        return value;
    const units = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1, us: 0.001 };
    const parts = [...value.matchAll(/(\d+)(d|h|ms|us|m|s)/gy)];
    const read = parts.reduce((length, part) => length + part[0].length, 0);
    if (parts.length === 0 || read !== value.length)
        throw new RangeError(`${JSON.stringify(value)} is no duration such as "5s"`);
    return parts.reduce((sum, part) => sum + Number(part[1]) * (units[part[2] ?? ''] ?? 0), 0);
}
/** A moment as the API writes it. */
function moment(value) {
    return value instanceof Date ? value.toISOString() : value;
}
/** A new job as the API takes it. */
function newJob(name, data, options) {
    const job = { payload: data === undefined ? {} : data };
    const tags = [...(name === exports.NAME_DEFAULT ? [] : [NAME_TAG + name]), ...(options.tags ?? [])];
    if (tags.length > 0)
        job.tags = tags;
    if (options.tenant !== undefined)
        job.tenant = options.tenant;
    if (options.delay !== undefined)
        job.delay = duration(options.delay);
    if (options.runAt !== undefined)
        job.run_at = moment(options.runAt);
    if (options.priority !== undefined)
        job.priority = priority(options.priority);
    if (options.attempts !== undefined)
        job.attempts = options.attempts;
    if (options.backoff !== undefined)
        job.backoff = backoff(options.backoff);
    if (options.timeout !== undefined)
        job.timeout = duration(options.timeout);
    if (options.unique !== undefined)
        job.unique = unique(options.unique);
    if (options.key !== undefined)
        job.key = options.key;
    if (options.keep !== undefined)
        job.keep = duration(options.keep);
    return job;
}
/** The name among a job's tags, and the tags without it. */
function nameAndTags(tags) {
    const named = tags?.find((tag) => tag.startsWith(NAME_TAG));
    return { name: named?.slice(NAME_TAG.length) ?? exports.NAME_DEFAULT, tags: (tags ?? []).filter((tag) => tag !== named) };
}
function priority(value) {
    if (Number.isInteger(value) && value >= 0 && value <= PRIORITY_LAST)
        return value;
    throw new RangeError(`a priority is a whole number from 0 (first) to ${PRIORITY_LAST}, not ${value}`);
}
function backoff(value) {
    if (typeof value === 'number')
        return { kind: 'fixed', base: duration(value) };
    const { type: kind, delay, max, jitter } = value;
    return {
        kind,
        base: duration(delay),
        ...(max === undefined ? {} : { max: duration(max) }),
        ...(jitter === undefined ? {} : { jitter }),
    };
}
function unique(value) {
    if (typeof value === 'string')
        return value;
    const { key, within, onDuplicate } = value;
    return {
        key,
        ...(within === undefined ? {} : { within: duration(within) }),
        ...(onDuplicate === undefined ? {} : { on_duplicate: onDuplicate }),
    };
}
