import { bytesOfError, keptError } from './kept-error.js';
import { bytesOfText, shortened } from './kept-text.js';
import type { RequestRecord } from './request-record.js';
import type { ShownError } from './shown-error.js';

/** What a record takes besides its texts, about, in bytes. */
const RECORD_BYTES = 1_000;

/** How much is kept. */
interface Limits {
  readonly maxRequests: number;
  readonly maxBytes: number;
}

/** The last requests. It is bounded in number and in bytes, and the oldest ones give way. */
export class RequestLog {
  readonly #limits: Limits;
  readonly #records = new Map<number, RequestRecord>();
  readonly #listeners = new Set<(record: RequestRecord) => void>();
  #bytes = 0;
  #lastId = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** About how many bytes are kept. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The id of the oldest that is kept; 0 where there is none. */
  get oldestId(): number {
    const [oldest = 0] = this.#records.keys();
    return oldest;
  }

  /** An id for the next record. */
  nextId(): number {
    return ++this.#lastId;
  }

  /** Keeps a record. */
  add(record: RequestRecord): void {
    this.#records.set(record.id, record);
    record.bytes += RECORD_BYTES + bytesOfText(record.path);
    this.#bytes += record.bytes;
    this.#makeRoom();
    this.changed(record);
  }

  /** Something was added to a record that takes so many bytes. */
  grow(record: RequestRecord, bytes: number): void {
    record.bytes += bytes;
    if (this.#records.has(record.id)) {
      this.#bytes += bytes;
      this.#makeRoom();
    }
  }

  /**
   * An error comes into a record, in the place of another one.
   *
   * @returns what of it is to be kept there
   */
  keptError(
    record: RequestRecord,
    error: ShownError | undefined,
    before?: ShownError,
  ): ShownError | undefined {
    const kept = error && keptError(error);
    this.grow(record, bytesOfError(kept) - bytesOfError(before));
    return kept;
  }

  /** As {@link RequestLog.keptError}, of a text. */
  keptText(record: RequestRecord, text: string | undefined, before?: string): string | undefined {
    const kept = text === undefined ? undefined : shortened(text);
    this.grow(record, bytesOfText(kept) - bytesOfText(before));
    return kept;
  }

  /** Something in a record is otherwise. */
  changed(record: RequestRecord): void {
    if (this.#listeners.size > 0 && this.#records.has(record.id)) {
      this.#listeners.forEach((listener) => listener(record));
    }
  }

  get(id: number): RequestRecord | undefined {
    return this.#records.get(id);
  }

  /** All that are kept, the latest first. */
  all(): readonly RequestRecord[] {
    return [...this.#records.values()].toReversed();
  }

  /** @returns a function that stops listening */
  listen(listener: (record: RequestRecord) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #makeRoom(): void {
    const { maxRequests, maxBytes } = this.#limits;
    for (const oldest of this.#records.values()) {
      if (this.#records.size <= maxRequests && this.#bytes <= maxBytes) {
        return;
      }
      this.#records.delete(oldest.id);
      this.#bytes -= oldest.bytes;
      oldest.isDropped = true;
    }
  }
}
