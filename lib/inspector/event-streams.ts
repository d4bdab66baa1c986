import type { NodeAnswer } from './own-answer.js';
import type { RequestLog } from './request-log.js';
import type { RequestRecord } from './request-record.js';
import { summaryOf } from './view/summary.js';

/** Changes within this time are sent together. */
const COLLECT_MS = 100;
/** Proxies close what is silent for too long. */
const PING_MS = 20_000;
/** After which time a page that has lost its stream asks for another one. */
const RETRY_MS = 1_000;
/** How many pages may have a stream. */
export const MOST_STREAMS = 20;
/** After which time a page has to ask for its stream again, so that guards are asked again as well. */
const LIFE_MS = 60_000;
/** What still runs is sent again, as its times go on. */
const TICK_MS = 1_000;
/** For how long a stream that has ended may still send what its client has not read. */
const LAST_WORDS_MS = 500;
/** A page that reads so slowly is cut off, and begins anew. */
const MOST_UNREAD_BYTES = 4 * 1024 * 1024;

/** Sends the list, and what changes in it, to the pages that are open (server-sent events). */
export class EventStreams {
  readonly #log: RequestLog;
  readonly #showValues: boolean;
  readonly #lifeMs: number;
  readonly #streams = new Set<NodeAnswer>();
  readonly #changed = new Set<RequestRecord>();
  #stopListening: (() => void) | undefined;
  #collecting: NodeJS.Timeout | undefined;
  #pinging: NodeJS.Timeout | undefined;
  #ticking: NodeJS.Timeout | undefined;

  /** @param lifeMs after which time a page has to ask again, in milliseconds */
  constructor(log: RequestLog, showValues: boolean, lifeMs = LIFE_MS) {
    this.#log = log;
    this.#lifeMs = lifeMs;
    this.#showValues = showValues;
  }

  /** How many pages have a stream. */
  get size(): number {
    return this.#streams.size;
  }

  /** Sends the whole list, and then each change, until the page is closed or has to ask again. */
  add(stream: NodeAnswer): void {
    this.#streams.add(stream);
    const renewing = setTimeout(() => this.#renew(stream), this.#lifeMs).unref();
    stream.once('close', () => {
      clearTimeout(renewing);
      this.#remove(stream);
    });
    // A server that closes waits for connections that are kept.
    stream.setHeader('connection', 'close');
    stream.flushHeaders();
    const list = this.#log.all().map((record) => summaryOf(record, this.#showValues));
    stream.write(`retry: ${RETRY_MS}\nevent: list\ndata: ${JSON.stringify(list)}\n\n`);
    this.#stopListening ??= this.#log.listen((record) => this.#collect(record));
    this.#pinging ??= setInterval(() => this.#send(':\n\n'), PING_MS).unref();
    this.#ticking ??= setInterval(() => this.#tick(), TICK_MS).unref();
  }

  /** Ends all streams: the server waits for them as it closes. */
  end(): void {
    this.#streams.forEach((stream) => this.#finish(stream));
  }

  /** Has all pages ask for their stream again, and thereby pass the guards again. */
  renew(): void {
    this.#streams.forEach((stream) => this.#renew(stream));
  }

  /** The addresses of the browsers that have a stream. */
  get addresses(): ReadonlySet<string> {
    return new Set([...this.#streams].map(({ socket }) => socket?.remoteAddress ?? ''));
  }

  #renew(stream: NodeAnswer): void {
    stream.write('event: renew\ndata: 1\n\n');
    this.#finish(stream);
  }

  #finish(stream: NodeAnswer): void {
    this.#remove(stream);
    stream.end();
    // What its client does not read never ends.
    setTimeout(() => stream.destroy(), LAST_WORDS_MS).unref();
  }

  #tick(): void {
    this.#log
      .all()
      .filter(({ endedAt }) => endedAt === undefined)
      .forEach((record) => this.#collect(record));
  }

  #remove(stream: NodeAnswer): void {
    this.#streams.delete(stream);
    if (this.#streams.size === 0) {
      this.#stopListening?.();
      this.#stopListening = undefined;
      clearInterval(this.#pinging);
      this.#pinging = undefined;
      clearInterval(this.#ticking);
      this.#ticking = undefined;
      clearTimeout(this.#collecting);
      this.#collecting = undefined;
      this.#changed.clear();
    }
  }

  #collect(record: RequestRecord): void {
    this.#changed.add(record);
    this.#collecting ??= setTimeout(() => this.#sendChanged(), COLLECT_MS).unref();
  }

  #sendChanged(): void {
    this.#collecting = undefined;
    const changed = [...this.#changed]
      .filter(({ isDropped }) => !isDropped)
      .map((record) => summaryOf(record, this.#showValues));
    this.#changed.clear();
    this.#send(
      `event: changed\ndata: ${JSON.stringify({ changed, oldest: this.#log.oldestId })}\n\n`,
    );
  }

  #send(text: string): void {
    for (const stream of this.#streams) {
      if (stream.writableLength > MOST_UNREAD_BYTES) {
        this.#finish(stream);
      } else {
        stream.write(text);
      }
    }
  }
}
