import { EventEmitter } from 'node:events';

type Listener = (...args: any[]) => void;

/** Events with names and arguments that the compiler knows. */
export class Emitter<T extends { [E in keyof T]: Listener }> {
  private readonly listeners = new EventEmitter();

  on<E extends keyof T & string>(event: E, listener: T[E]): this {
    this.listeners.on(event, listener);
    return this;
  }

  once<E extends keyof T & string>(event: E, listener: T[E]): this {
    this.listeners.once(event, listener);
    return this;
  }

  off<E extends keyof T & string>(event: E, listener: T[E]): this {
    this.listeners.off(event, listener);
    return this;
  }

  /** Tells all listeners. What one of them throws is reported, and keeps nothing from going on. */
  protected emit<E extends keyof T & string>(event: E, ...args: Parameters<T[E]>): void {
    try {
      this.listeners.emit(event, ...args);
    } catch (error) {
      this.report(error as Error);
    }
  }

  /** An error that nobody listens to goes to standard error: it must not end the process. */
  protected report(error: Error): void {
    if (this.listeners.listenerCount('error') === 0) process.stderr.write(`${error.stack ?? error.message}\n`);
    else this.listeners.emit('error', error);
  }
}
