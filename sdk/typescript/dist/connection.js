"use strict";
var __createBinding = (this && this.__createBinding) || (Object.create ? (function(o, m, k, k2) {
    if (k2 === undefined) k2 = k;
    var desc = Object.getOwnPropertyDescriptor(m, k);
    if (!desc || ("get" in desc ? !m.__esModule : desc.writable || desc.configurable)) {
      desc = { enumerable: true, get: function() { return m[k]; } };
    }
    Object.defineProperty(o, k2, desc);
}) : (function(o, m, k, k2) {
    if (k2 === undefined) k2 = k;
    o[k2] = m[k];
}));
var __setModuleDefault = (this && this.__setModuleDefault) || (Object.create ? (function(o, v) {
    Object.defineProperty(o, "default", { enumerable: true, value: v });
}) : function(o, v) {
    o["default"] = v;
});
var __importStar = (this && this.__importStar) || (function () {
    var ownKeys = function(o) {
        ownKeys = Object.getOwnPropertyNames || function (o) {
            var ar = [];
            for (var k in o) if (Object.prototype.hasOwnProperty.call(o, k)) ar[ar.length] = k;
            return ar;
        };
        return ownKeys(o);
    };
    return function (mod) {
        if (mod && mod.__esModule) return mod;
        var result = {};
        if (mod != null) for (var k = ownKeys(mod), i = 0; i < k.length; i++) if (k[i] !== "default") __createBinding(result, mod, k[i]);
        __setModuleDefault(result, mod);
        return result;
    };
})();
Object.defineProperty(exports, "__esModule", { value: true });
exports.Connection = void 0;
exports.connect = connect;
exports.pause = pause;
exports.pauseMs = pauseMs;
const http = __importStar(require("node:http"));
const https = __importStar(require("node:https"));
const errors_1 = require("./errors");
const TIMEOUT_MS = 30_000;
const RETRIES = 4;
const CONNECTIONS = 128;
/** The first pause before a repeat, and the longest. */
const PAUSE_FIRST_MS = 100;
const PAUSE_MAX_MS = 5_000;
/** How long the server has to notice that nobody waits, before the connection is cut. */
const HANG_UP_MS = 2_000;
/**
 * Kept-alive HTTP connections to Switchyard. Share one between queues and workers of a process, or let each make its own.
 */
class Connection {
    base;
    agent;
    headers;
    timeout;
    retries;
    constructor(options = {}) {
        const url = options.url ?? process.env['SWITCHYARD_URL'];
        if (url === undefined || url === '') {
            throw new TypeError('where is Switchyard? Give `connection: { url, token }`, or set SWITCHYARD_URL and SWITCHYARD_TOKEN');
        }
        const token = options.token ?? process.env['SWITCHYARD_TOKEN'];
        this.base = new URL(url);
        const kind = this.base.protocol === 'https:' ? https : http;
        this.agent = new kind.Agent({ keepAlive: true, maxSockets: options.connections ?? CONNECTIONS, scheduling: 'lifo' });
        this.headers = {
            accept: 'application/json',
            'user-agent': 'switchyard-sdk-typescript',
            ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
            ...(options.tenant === undefined ? {} : { 'switchyard-tenant': options.tenant }),
            ...(options.environment === undefined ? {} : { 'switchyard-environment': options.environment }),
        };
        this.timeout = options.timeout ?? TIMEOUT_MS;
        this.retries = options.retries ?? RETRIES;
    }
    /** @internal Makes a call and gives the body of the answer; `undefined` where it has none. */
    async call(call) {
        for (let attempt = 0;; attempt += 1) {
            let failure;
            try {
                const reply = await this.exchange(call);
                if (reply.status < 300)
                    return parse(reply.text, call);
                failure = refusal(reply);
            }
            catch (error) {
                if (!(error instanceof errors_1.ConnectionError))
                    throw error;
                failure = error;
            }
            if (attempt >= this.retries || !mayRepeat(call, failure))
                throw failure;
            await pause(pauseMs(attempt, failure), call.hangUp);
            call.onRepeat?.();
        }
    }
    /** @internal Opens a stream of server-sent events; the caller reads and ends it. */
    async stream(path, lastEventId, signal) {
        const headers = { ...this.headers, accept: 'text/event-stream' };
        if (lastEventId !== undefined)
            Object.assign(headers, { 'last-event-id': lastEventId });
        const response = await this.open({ method: 'GET', path, headers, limit: this.timeout, signal });
        if (response.statusCode === 200)
            return response;
        throw refusal({ status: response.statusCode ?? 0, headers: response.headers, text: await read(response) });
    }
    /** Closes all connections. Calls that run fail. */
    close() {
        this.agent.destroy();
    }
    async exchange(call) {
        const headers = { ...this.headers };
        let body;
        if (call.body !== undefined) {
            body = typeof call.body === 'string' ? call.body : JSON.stringify(call.body);
            headers['content-type'] = 'application/json';
        }
        if (call.method !== 'GET')
            headers['content-length'] = String(Buffer.byteLength(body ?? ''));
        if (call.key !== undefined)
            headers['idempotency-key'] = call.key;
        const { method, path, hangUp } = call;
        const limit = this.timeout + (call.held ?? 0);
        const response = await this.open({ method, path, headers, body, limit, hangUp });
        return { status: response.statusCode ?? 0, headers: response.headers, text: await read(response) };
    }
    open({ method, path, headers, body, limit, signal, hangUp }) {
        const url = this.base;
        const { request } = url.protocol === 'https:' ? https : http;
        return new Promise((resolve, reject) => {
            const sent = request({
                protocol: url.protocol,
                hostname: url.hostname.replace(/^\[|\]$/g, ''),
                port: url.port,
                path: url.pathname.replace(/\/$/, '') + path,
                method,
                headers,
                agent: this.agent,
                ...(signal === undefined ? {} : { signal }),
            });
            sent.setTimeout(limit, () => sent.destroy(new Error(`no answer within ${limit} ms`)));
            sent.once('response', resolve);
            if (hangUp !== undefined)
                sent.once('close', whenAborted(hangUp, () => leave(sent)));
            sent.on('error', (error) => {
                if (signal?.aborted === true)
                    reject(error);
                else
                    reject(new errors_1.ConnectionError(`${method} ${url.host}${path}: ${error.message}`, { cause: error }));
            });
            sent.end(body);
        });
    }
}
exports.Connection = Connection;
/** Does something once a signal says so; gives what forgets about it. */
function whenAborted(signal, act) {
    signal.addEventListener('abort', act, { once: true });
    if (signal.aborted)
        act();
    return () => signal.removeEventListener('abort', act);
}
/** Closes our half of a request's connection, and reads on; cuts it where nothing can have been sent, or nothing comes. */
function leave(sent) {
    const { socket } = sent;
    if (socket === null || socket.connecting) {
        sent.destroy(new Error('nobody waits for it any more'));
        return;
    }
    socket.end();
    const cut = setTimeout(() => sent.destroy(new Error('nobody waits for it any more')), HANG_UP_MS);
    sent.once('close', () => clearTimeout(cut));
}
/** @internal A connection, and whether it is the caller's own to close. */
function connect(given) {
    return given instanceof Connection ? { connection: given, own: false } : { connection: new Connection(given), own: true };
}
/** @internal Waits, or throws when the signal says so first. */
function pause(ms, signal) {
    return new Promise((resolve, reject) => {
        const end = () => {
            clearTimeout(timer);
            reject(signal?.reason instanceof Error ? signal.reason : new Error('the call was aborted'));
        };
        const timer = setTimeout(() => {
            signal?.removeEventListener('abort', end);
            resolve();
        }, ms);
        if (signal?.aborted === true)
            end();
        else
            signal?.addEventListener('abort', end, { once: true });
    });
}
/** @internal Doubling pauses, half of each left to chance, so that many clients do not come back at once. */
function pauseMs(attempt, failure) {
    const asked = failure instanceof errors_1.SwitchyardError ? failure.retryAfterMs : undefined;
    const full = Math.min(PAUSE_FIRST_MS * 2 ** attempt, PAUSE_MAX_MS);
    return Math.max(Math.min(asked ?? 0, PAUSE_MAX_MS), full / 2 + (Math.random() * full) / 2);
}
/** Whether a call that failed is worth another try, and cannot do harm by it. */
function mayRepeat(call, failure) {
    if (call.hangUp?.aborted === true)
        return false;
    if (failure instanceof errors_1.SwitchyardError)
        return call.repeatable && [502, 503, 504].includes(failure.status);
    return call.repeatable || wasNeverSent(failure);
}
function wasNeverSent(failure) {
    const cause = failure.cause;
    return cause?.code === 'ECONNREFUSED' || cause?.code === 'ENOTFOUND';
}
async function read(response) {
    const chunks = [];
    try {
        for await (const chunk of response)
            chunks.push(chunk);
    }
    catch (error) {
        throw new errors_1.ConnectionError('the answer broke off', { cause: error });
    }
    return Buffer.concat(chunks).toString('utf8');
}
function parse(text, call) {
    if (text === '')
        return undefined;
    try {
        return JSON.parse(text);
    }
    catch (error) {
        throw new errors_1.ConnectionError(`${call.method} ${call.path}: the answer is not JSON`, { cause: error });
    }
}
function refusal(reply) {
    let problem = {};
    try {
        problem = JSON.parse(reply.text);
    }
    catch {
        // Something between us and Switchyard answered; the status has to do.
    }
    const seconds = Number(reply.headers['retry-after']);
    return new errors_1.SwitchyardError(reply.status, problem, Number.isFinite(seconds) ? seconds * 1000 : undefined);
}
