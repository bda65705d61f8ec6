"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.QueueEvents = void 0;
const connection_1 = require("./connection");
const emitter_1 = require("./emitter");
const errors_1 = require("./errors");
/** Failed attempts of which it is not known yet what comes of them; beyond that the oldest is forgotten. */
const FAILURES_MAX = 1_000;
/** Tells what happens in a queue, in whatever process. Goes on without a gap after a broken connection. */
class QueueEvents extends emitter_1.Emitter {
    name;
    connection;
    own;
    stopping = new AbortController();
    lastEventId;
    running;
    ready = false;
    /** Why the newest attempt of a job failed, until it is told what comes of it. */
    failures = new Map();
    constructor(name, options = {}) {
        super();
        this.name = name;
        ({ connection: this.connection, own: this.own } = (0, connection_1.connect)(options.connection));
        this.lastEventId = options.lastEventId;
        if (options.autorun !== false)
            void this.run();
    }
    /** Begins, where `autorun` is false. Ends when it is closed. */
    run() {
        this.running ??= this.follow();
        return this.running;
    }
    /** Waits until events that happen from now on are told. */
    async waitUntilReady() {
        if (!this.ready)
            await new Promise((resolve) => this.once('ready', resolve));
    }
    async close() {
        this.stopping.abort();
        await this.running;
        if (this.own)
            this.connection.close();
    }
    async follow() {
        const { signal } = this.stopping;
        const path = `/api/v1/queues/${encodeURIComponent(this.name)}/events`;
        for (let attempt = 0; !signal.aborted; attempt += 1) {
            try {
                const stream = await this.connection.stream(path, this.lastEventId, signal);
                attempt = 0;
                this.ready = true;
                this.emit('ready');
                await this.consume(stream);
            }
            catch (error) {
                if (signal.aborted)
                    return;
                this.report(error);
                // A queue that does not exist, or a token that is not good, may be mended while we wait.
                const patient = error instanceof errors_1.SwitchyardError && error.status < 500 ? 5 : 0;
                await (0, connection_1.pause)((0, connection_1.pauseMs)(attempt + patient, error), signal).catch(() => undefined);
            }
        }
    }
    /** Reads events until the stream ends. */
    async consume(stream) {
        stream.setEncoding('utf8');
        let rest = '';
        let [id, kind, data] = ['', '', ''];
        for await (const chunk of stream) {
            const lines = (rest + chunk).split(/\r\n|\n/);
            rest = lines.pop() ?? '';
            for (const line of lines) {
                const value = line.slice(line.indexOf(':') + 1).replace(/^ /, '');
                if (line === '') {
                    if (id !== '')
                        this.lastEventId = id;
                    if (kind !== '' || data !== '')
                        this.tell(kind, data, id);
                    [id, kind, data] = ['', '', ''];
                }
                else if (line.startsWith('id:'))
                    id = value;
                else if (line.startsWith('event:'))
                    kind = value;
                else if (line.startsWith('data:'))
                    data += value;
            }
        }
    }
    tell(named, text, id) {
        let event;
        try {
            event = (text === '' ? {} : JSON.parse(text));
        }
        catch (error) {
            this.report(error);
            return;
        }
        const kind = named === '' ? event.kind : named;
        const about = { jobId: event.job ?? '', tenant: event.tenant ?? undefined };
        switch (kind) {
            case 'added':
            case 'cancelled':
            case 'stalled':
                this.emit(kind, about, id);
                break;
            case 'active':
                this.emit('active', { ...about, attempt: event.attempt }, id);
                break;
            case 'progress':
                this.emit('progress', { ...about, data: progress(event) }, id);
                break;
            case 'completed':
                this.emit('completed', { ...about, returnvalue: event.result }, id);
                break;
            // What comes of it follows: another attempt, or none.
            case 'failed':
                this.keep(about.jobId, event.error ?? '');
                break;
            case 'retrying':
                this.emit('retrying', { ...about, failedReason: this.reason(event), attempt: event.attempt }, id);
                break;
            case 'dead':
                this.emit('failed', { ...about, failedReason: this.reason(event) }, id);
                break;
            case 'drained':
            case 'paused':
            case 'resumed':
            case 'gap':
                this.emit(kind, id);
                break;
            default: break; // A kind of a newer Switchyard.
        }
    }
    keep(jobId, reason) {
        const [oldest] = this.failures.keys();
        if (this.failures.size >= FAILURES_MAX && oldest !== undefined)
            this.failures.delete(oldest);
        this.failures.set(jobId, reason);
    }
    reason({ job, error }) {
        const kept = this.failures.get(job ?? '');
        this.failures.delete(job ?? '');
        return error ?? kept ?? '';
    }
}
exports.QueueEvents = QueueEvents;
function progress(event) {
    const percent = event.percent ?? 0;
    return event.note === undefined || event.note === null ? percent : { percent, note: event.note };
}
