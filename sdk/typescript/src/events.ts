import type { IncomingMessage } from 'node:http';
import { connect, pause, pauseMs, type Connection, type ConnectionOptions } from './connection';
import { Emitter } from './emitter';
import { SwitchyardError } from './errors';
import type { JobProgress } from './job';

export interface QueueEventsOptions {
  /** As of a queue. */
  connection?: Connection | ConnectionOptions;
  /** Goes on after this event, where Switchyard still has what followed it. Default: from now on. */
  lastEventId?: string;
  /** Whether to begin at once (true) or when `run()` is called. */
  autorun?: boolean;
}

interface About {
  jobId: string;
  tenant: string | undefined;
}

/** What is told, each with the id of the event, from which a later `QueueEvents` can go on. */
export interface QueueEventsListeners<Result = any> {
  added: (about: About, eventId: string) => void;
  active: (about: About & { attempt: number | undefined }, eventId: string) => void;
  progress: (about: About & { data: JobProgress }, eventId: string) => void;
  completed: (about: About & { returnvalue: Result }, eventId: string) => void;
  /** An attempt failed, or its worker was lost, and another will follow. */
  retrying: (about: About & { failedReason: string; attempt: number | undefined }, eventId: string) => void;
  /** The job is dead: it failed for the last time. */
  failed: (about: About & { failedReason: string }, eventId: string) => void;
  cancelled: (about: About, eventId: string) => void;
  /** A worker lost its lease. */
  stalled: (about: About, eventId: string) => void;
  drained: (eventId: string) => void;
  paused: (eventId: string) => void;
  resumed: (eventId: string) => void;
  /** Events were missed: what followed `lastEventId` is no longer there. Read what matters anew. */
  gap: (eventId: string) => void;
  /** Connected, for the first time or again. */
  ready: () => void;
  /** The stream broke; it is opened again by itself. */
  error: (error: Error) => void;
}

interface EventWire {
  kind?: string;
  job?: string | null;
  tenant?: string | null;
  percent?: number;
  note?: string | null;
  result?: unknown;
  error?: string | null;
  attempt?: number;
}

/** Failed attempts of which it is not known yet what comes of them; beyond that the oldest is forgotten. */
const FAILURES_MAX = 1_000;

/** Tells what happens in a queue, in whatever process. Goes on without a gap after a broken connection. */
export class QueueEvents<Result = any> extends Emitter<QueueEventsListeners<Result>> {
  readonly name: string;
  private readonly connection: Connection;
  private readonly own: boolean;
  private readonly stopping = new AbortController();
  private lastEventId: string | undefined;
  private running: Promise<void> | undefined;
  private ready = false;
  /** Why the newest attempt of a job failed, until it is told what comes of it. */
  private readonly failures = new Map<string, string>();

  constructor(name: string, options: QueueEventsOptions = {}) {
    super();
    this.name = name;
    ({ connection: this.connection, own: this.own } = connect(options.connection));
    this.lastEventId = options.lastEventId;
    if (options.autorun !== false) void this.run();
  }

  /** Begins, where `autorun` is false. Ends when it is closed. */
  run(): Promise<void> {
    this.running ??= this.follow();
    return this.running;
  }

  /** Waits until events that happen from now on are told. */
  async waitUntilReady(): Promise<void> {
    if (!this.ready) await new Promise<void>((resolve) => this.once('ready', resolve));
  }

  async close(): Promise<void> {
    this.stopping.abort();
    await this.running;
    if (this.own) this.connection.close();
  }

  private async follow(): Promise<void> {
    const { signal } = this.stopping;
    const path = `/api/v1/queues/${encodeURIComponent(this.name)}/events`;
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      try {
        const stream = await this.connection.stream(path, this.lastEventId, signal);
        attempt = 0;
        this.ready = true;
        this.emit('ready');
        await this.consume(stream);
      } catch (error) {
        if (signal.aborted) return;
        this.report(error as Error);
        // A queue that does not exist, or a token that is not good, may be mended while we wait.
        const patient = error instanceof SwitchyardError && error.status < 500 ? 5 : 0;
        await pause(pauseMs(attempt + patient, error as Error), signal).catch(() => undefined);
      }
    }
  }

  /** Reads events until the stream ends. */
  private async consume(stream: IncomingMessage): Promise<void> {
    stream.setEncoding('utf8');
    let rest = '';
    let [id, kind, data] = ['', '', ''];
    for await (const chunk of stream) {
      const lines = (rest + (chunk as string)).split(/\r\n|\n/);
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const value = line.slice(line.indexOf(':') + 1).replace(/^ /, '');
        if (line === '') {
          if (id !== '') this.lastEventId = id;
          if (kind !== '' || data !== '') this.tell(kind, data, id);
          [id, kind, data] = ['', '', ''];
        } else if (line.startsWith('id:')) id = value;
        else if (line.startsWith('event:')) kind = value;
        else if (line.startsWith('data:')) data += value;
      }
    }
  }

  private tell(named: string, text: string, id: string): void {
    let event: EventWire;
    try {
      event = (text === '' ? {} : JSON.parse(text)) as EventWire;
    } catch (error) {
      this.report(error as Error);
      return;
    }
    const kind = named === '' ? event.kind : named;
    const about = { jobId: event.job ?? '', tenant: event.tenant ?? undefined };
    switch (kind) {
      case 'added': case 'cancelled': case 'stalled': this.emit(kind, about, id); break;
      case 'active': this.emit('active', { ...about, attempt: event.attempt }, id); break;
      case 'progress': this.emit('progress', { ...about, data: progress(event) }, id); break;
      case 'completed': this.emit('completed', { ...about, returnvalue: event.result as Result }, id); break;
      // What comes of it follows: another attempt, or none.
      case 'failed': this.keep(about.jobId, event.error ?? ''); break;
      case 'retrying': this.emit('retrying', { ...about, failedReason: this.reason(event), attempt: event.attempt }, id); break;
      case 'dead': this.emit('failed', { ...about, failedReason: this.reason(event) }, id); break;
      case 'drained': case 'paused': case 'resumed': case 'gap': this.emit(kind, id); break;
      default: break; // A kind of a newer Switchyard.
    }
  }

  private keep(jobId: string, reason: string): void {
    const [oldest] = this.failures.keys();
    if (this.failures.size >= FAILURES_MAX && oldest !== undefined) this.failures.delete(oldest);
    this.failures.set(jobId, reason);
  }

  private reason({ job, error }: EventWire): string {
    const kept = this.failures.get(job ?? '');
    this.failures.delete(job ?? '');
    return error ?? kept ?? '';
  }
}

function progress(event: EventWire): JobProgress {
  const percent = event.percent ?? 0;
  return event.note === undefined || event.note === null ? percent : { percent, note: event.note };
}
