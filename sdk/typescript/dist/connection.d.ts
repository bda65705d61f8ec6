/** Where Switchyard is, and as whom to speak to it. */
export interface ConnectionOptions {
    /** Base address, such as `http://127.0.0.1:8082`. Default: `SWITCHYARD_URL`. */
    url?: string;
    /** A service token or an API key. Default: `SWITCHYARD_TOKEN`. */
    token?: string;
    /** Acts for this tenant (id or slug) in every call. */
    tenant?: string;
    /** Names the environment where the token is good for several. */
    environment?: string;
    /** Longest wait for an answer, in milliseconds (30,000). */
    timeout?: number;
    /** How often a call is repeated that may safely be repeated (4). */
    retries?: number;
    /** Connections that are open at a time (128). */
    connections?: number;
}
/**
 * Kept-alive HTTP connections to Switchyard. Share one between queues and workers of a process, or let each make its own.
 */
export declare class Connection {
    private readonly base;
    private readonly agent;
    private readonly headers;
    private readonly timeout;
    private readonly retries;
    constructor(options?: ConnectionOptions);
    /** Closes all connections. Calls that run fail. */
    close(): void;
    private exchange;
    private open;
}
