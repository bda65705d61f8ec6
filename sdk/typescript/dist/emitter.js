"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.Emitter = void 0;
const node_events_1 = require("node:events");
/** Events with names and arguments that the compiler knows. */
class Emitter {
    listeners = new node_events_1.EventEmitter();
    on(event, listener) {
        this.listeners.on(event, listener);
        return this;
    }
    once(event, listener) {
        this.listeners.once(event, listener);
        return this;
    }
    off(event, listener) {
        this.listeners.off(event, listener);
        return this;
    }
    /** Tells all listeners. What one of them throws is reported, and keeps nothing from going on. */
    emit(event, ...args) {
        try {
            this.listeners.emit(event, ...args);
        }
        catch (error) {
            this.report(error);
        }
    }
    /** An error that nobody listens to goes to standard error: it must not end the process. */
    report(error) {
        if (this.listeners.listenerCount('error') === 0)
            process.stderr.write(`${error.stack ?? error.message}\n`);
        else
            this.listeners.emit('error', error);
    }
}
exports.Emitter = Emitter;
