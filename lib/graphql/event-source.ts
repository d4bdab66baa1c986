import { returnOf, throwAt, type Source } from './outside-source.js';
import { filtering, type EventFilter } from './event-filter.js';

/** What a subscription does with the events of its source. */
interface EventReader extends EventFilter {
  /** Whether the resolver of the root field has not made the source yet. */
  readonly isStarting: boolean;
  /** Runs a part of what leads to the source. */
  starting<T>(work: () => T): Promise<Awaited<T>>;
  /** What is executed in place of a payload that the source has given. */
  eventFor(payload: unknown): unknown;
  /** Rolls an event back that has been taken from the source, and not been sent. */
  abandonEvent(): void;
  /** Ends the subscription, whose client has left or wants no more events. */
  leave(): void;
}

/** The events of a subscription, each with a context of its own. */
export class EventSource implements AsyncIterableIterator<unknown> {
  readonly #subscription: EventReader;
  readonly #source: Source;

  constructor(subscription: EventReader, source: Source) {
    this.#subscription = subscription;
    this.#source = source;
  }

  async next(): Promise<IteratorResult<unknown>> {
    // The server has not handed the last one back.
    this.#subscription.abandonEvent();
    const next = (): Promise<IteratorResult<unknown>> =>
      filtering(this.#subscription, () => this.#source.next());
    const result = await (this.#subscription.isStarting
      ? this.#subscription.starting(next)
      : next());
    return result.done === true
      ? result
      : { done: false, value: this.#subscription.eventFor(result.value) };
  }

  return(): Promise<IteratorResult<unknown>> {
    this.#subscription.leave();
    return returnOf(this.#source);
  }

  throw(error: unknown): Promise<IteratorResult<unknown>> {
    this.#subscription.leave();
    return throwAt(this.#source, error);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
