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
const MOST_STREAMS = 20;
/** A page that reads so slowly is cut off, and begins anew. */
const MOST_UNREAD_BYTES = 4 * 1024 * 1024;

/** Sends the list, and what changes in it, to the pages that are open (server-sent events). */
export class EventStreams {
  readonly #log: RequestLog;
  readonly #showValues: boolean;
  readonly #streams = new Set<NodeAnswer>();
  readonly #changed = new Set<RequestRecord>();
  #stopListening: (() => void) | undefined;
  #collecting: NodeJS.Timeout | undefined;
  #pinging: NodeJS.Timeout | undefined;

  constructor(log: RequestLog, showValues: boolean) {
    this.#log = log;
    this.#showValues = showValues;
  }

  /** Whether no page more may have a stream. */
  get isFull(): boolean {
    return this.#streams.size >= MOST_STREAMS;
  }

  /** Sends the whole list, and then each change, until the page is closed. */
  add(stream: NodeAnswer): void {
    this.#streams.add(stream);
    stream.once('close', () => this.#remove(stream));
    stream.flushHeaders();
    const list = this.#log.all().map((record) => summaryOf(record, this.#showValues));
    stream.write(`retry: ${RETRY_MS}\nevent: list\ndata: ${JSON.stringify(list)}\n\n`);
    this.#stopListening ??= this.#log.listen((record) => this.#collect(record));
    this.#pinging ??= setInterval(() => this.#send(':\n\n'), PING_MS).unref();
  }

  /** Ends all streams: the server waits for them as it closes. */
  end(): void {
    this.#streams.forEach((stream) => {
      this.#remove(stream);
      stream.end();
    });
  }

  #remove(stream: NodeAnswer): void {
    this.#streams.delete(stream);
    if (this.#streams.size === 0) {
      this.#stopListening?.();
      this.#stopListening = undefined;
      clearInterval(this.#pinging);
      this.#pinging = undefined;
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
        stream.end();
      } else {
        stream.write(text);
      }
    }
  }
}
