import * as http from 'node:http';
import * as https from 'node:https';
import { ConnectionError, SwitchyardError, type Problem } from './errors';

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

/** @internal One call. */
export interface Call {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  path: string;
  /** Text is JSON already. */
  body?: unknown;
  /** Whether doing it twice does no harm. Only such calls are repeated when an answer is lost. */
  repeatable: boolean;
  /** Sent as Idempotency-Key: Switchyard answers a repeat with the first reply. */
  key?: string;
  /**
   * When it says so, the server is told that nobody waits any more, by closing our half of the connection. An answer that was on its
   * way by then is still read, so that nothing in it is lost; otherwise the call fails.
   */
  hangUp?: AbortSignal;
  /** Beyond the connection's time-out: how long the server may hold its answer back, in milliseconds. */
  held?: number;
  /** Told before each repeat. */
  onRepeat?: () => void;
}

interface Reply {
  status: number;
  headers: http.IncomingHttpHeaders;
  text: string;
}

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
export class Connection {
  private readonly base: URL;
  private readonly agent: http.Agent;
  private readonly headers: Record<string, string>;
  private readonly timeout: number;
  private readonly retries: number;

  constructor(options: ConnectionOptions = {}) {
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
  async call<T>(call: Call): Promise<T> {
    for (let attempt = 0; ; attempt += 1) {
      let failure: Error;
      try {
        const reply = await this.exchange(call);
        if (reply.status < 300) return parse(reply.text, call) as T;
        failure = refusal(reply);
      } catch (error) {
        if (!(error instanceof ConnectionError)) throw error;
        failure = error;
      }
      if (attempt >= this.retries || !mayRepeat(call, failure)) throw failure;
      await pause(pauseMs(attempt, failure), call.hangUp);
      call.onRepeat?.();
    }
  }

  /** @internal Opens a stream of server-sent events; the caller reads and ends it. */
  async stream(path: string, lastEventId: string | undefined, signal: AbortSignal): Promise<http.IncomingMessage> {
    const headers = { ...this.headers, accept: 'text/event-stream' };
    if (lastEventId !== undefined) Object.assign(headers, { 'last-event-id': lastEventId });
    const response = await this.open({ method: 'GET', path, headers, limit: this.timeout, signal });
    if (response.statusCode === 200) return response;
    throw refusal({ status: response.statusCode ?? 0, headers: response.headers, text: await read(response) });
  }

  /** Closes all connections. Calls that run fail. */
  close(): void {
    this.agent.destroy();
  }

  private async exchange(call: Call): Promise<Reply> {
    const headers: Record<string, string> = { ...this.headers };
    let body: string | undefined;
    if (call.body !== undefined) {
      body = typeof call.body === 'string' ? call.body : JSON.stringify(call.body);
      headers['content-type'] = 'application/json';
    }
    if (call.method !== 'GET') headers['content-length'] = String(Buffer.byteLength(body ?? ''));
    if (call.key !== undefined) headers['idempotency-key'] = call.key;
    const { method, path, hangUp } = call;
    const limit = this.timeout + (call.held ?? 0);
    const response = await this.open({ method, path, headers, body, limit, hangUp });
    return { status: response.statusCode ?? 0, headers: response.headers, text: await read(response) };
  }

  private open({ method, path, headers, body, limit, signal, hangUp }: Opening): Promise<http.IncomingMessage> {
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
      if (hangUp !== undefined) sent.once('close', whenAborted(hangUp, () => leave(sent)));
      sent.on('error', (error) => {
        if (signal?.aborted === true) reject(error);
        else reject(new ConnectionError(`${method} ${url.host}${path}: ${error.message}`, { cause: error }));
      });
      sent.end(body);
    });
  }
}

/** What a request is made of. */
interface Opening {
  method: string;
  path: string;
  headers: Record<string, string>;
  body?: string | undefined;
  /** Milliseconds without a byte of the answer. */
  limit: number;
  signal?: AbortSignal | undefined;
  hangUp?: AbortSignal | undefined;
}

/** Does something once a signal says so; gives what forgets about it. */
function whenAborted(signal: AbortSignal, act: () => void): () => void {
  signal.addEventListener('abort', act, { once: true });
  if (signal.aborted) act();
  return () => signal.removeEventListener('abort', act);
}

/** Closes our half of a request's connection, and reads on; cuts it where nothing can have been sent, or nothing comes. */
function leave(sent: http.ClientRequest): void {
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
export function connect(given: Connection | ConnectionOptions | undefined): { connection: Connection; own: boolean } {
  return given instanceof Connection ? { connection: given, own: false } : { connection: new Connection(given), own: true };
}

/** @internal Waits, or throws when the signal says so first. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer);
      reject(signal?.reason instanceof Error ? signal.reason : new Error('the call was aborted'));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', end);
      resolve();
    }, ms);
    if (signal?.aborted === true) end();
    else signal?.addEventListener('abort', end, { once: true });
  });
}

/** @internal Doubling pauses, half of each left to chance, so that many clients do not come back at once. */
export function pauseMs(attempt: number, failure?: Error): number {
  const asked = failure instanceof SwitchyardError ? failure.retryAfterMs : undefined;
  const full = Math.min(PAUSE_FIRST_MS * 2 ** attempt, PAUSE_MAX_MS);
  return Math.max(Math.min(asked ?? 0, PAUSE_MAX_MS), full / 2 + (Math.random() * full) / 2);
}

/** Whether a call that failed is worth another try, and cannot do harm by it. */
function mayRepeat(call: Call, failure: Error): boolean {
  if (call.hangUp?.aborted === true) return false;
  if (failure instanceof SwitchyardError) return call.repeatable && [502, 503, 504].includes(failure.status);
  return call.repeatable || wasNeverSent(failure);
}

function wasNeverSent(failure: Error): boolean {
  const cause = failure.cause as NodeJS.ErrnoException | undefined;
  return cause?.code === 'ECONNREFUSED' || cause?.code === 'ENOTFOUND';
}

async function read(response: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of response) chunks.push(chunk as Buffer);
  } catch (error) {
    throw new ConnectionError('the answer broke off', { cause: error });
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parse(text: string, call: Call): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new ConnectionError(`${call.method} ${call.path}: the answer is not JSON`, { cause: error });
  }
}

function refusal(reply: Reply): SwitchyardError {
  let problem: Problem = {};
  try {
    problem = JSON.parse(reply.text) as Problem;
  } catch {
    // Something between us and Switchyard answered; the status has to do.
  }
  const seconds = Number(reply.headers['retry-after']);
  return new SwitchyardError(reply.status, problem, Number.isFinite(seconds) ? seconds * 1000 : undefined);
}
