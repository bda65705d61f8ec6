type Listener = (...args: any[]) => void;
/** Events with names and arguments that the compiler knows. */
export declare class Emitter<T extends {
    [E in keyof T]: Listener;
}> {
    private readonly listeners;
    on<E extends keyof T & string>(event: E, listener: T[E]): this;
    once<E extends keyof T & string>(event: E, listener: T[E]): this;
    off<E extends keyof T & string>(event: E, listener: T[E]): this;
    /** Tells all listeners. What one of them throws is reported, and keeps nothing from going on. */
    protected emit<E extends keyof T & string>(event: E, ...args: Parameters<T[E]>): void;
    /** An error that nobody listens to goes to standard error: it must not end the process. */
    protected report(error: Error): void;
}
export {};
