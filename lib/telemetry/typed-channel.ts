import { channel } from 'node:diagnostics_channel';

/** What a store is bound as: an `AsyncLocalStorage`, or something else that runs code with a value. */
export interface EventStore<S> {
  run<R>(value: S, callback: () => R): R;
  /** What Node calls from 25.9 on, in place of `run()`; the value holds until what it returns is disposed of. */
  withScope?(value: S): Disposable;
}

/**
 * A channel of `node:diagnostics_channel`, with the type of its events. It is the object that
 * `diagnostics_channel.channel(name)` returns, so that code which does not import this package subscribes
 * by the name alone.
 *
 * @publicApi
 */
export interface EventChannel<T> {
  readonly name: string | symbol;
  /** Whether anybody listens. No event is made where nobody does. */
  readonly hasSubscribers: boolean;
  /** Calls `listener` with each event, synchronously; what it throws becomes an uncaught exception. */
  subscribe(listener: (event: T) => void): void;
  /** @returns whether `listener` was subscribed */
  unsubscribe(listener: (event: T) => void): boolean;
  /**
   * Runs what an event of a `start` channel announces with a value in a store, see
   * https://nodejs.org/api/diagnostics_channel.html#channelbindstorestore-transform
   */
  bindStore<S>(store: EventStore<S>, transform: (event: T) => S): void;
  /** @returns whether `store` was bound */
  unbindStore<S>(store: EventStore<S>): boolean;
  /** Calls all listeners; the library does that. */
  publish(event: T): void;
  /** Publishes `event`, and runs `callback` with the stores that are bound. */
  runStores<R>(event: T, callback: () => R): R;
}

/**
 * The channels of something that takes time, as `diagnostics_channel.tracingChannel(name)` names them.
 * All events of one operation are the same object, so that a subscriber may keep what it knows of the
 * operation in a `WeakMap`.
 *
 * @publicApi
 */
export interface OperationChannels<T> {
  /** It begins; it runs with the stores that are bound to this channel. */
  readonly start: EventChannel<T>;
  /** The call has returned, and the operation goes on. */
  readonly end: EventChannel<T>;
  /** The operation is over, also where it has failed. */
  readonly asyncEnd: EventChannel<T>;
  /** It has failed; comes before `asyncEnd`. */
  readonly error: EventChannel<T>;
  readonly hasSubscribers: boolean;
}

/** The channel of that name; there is one in a process. */
export function eventChannel<T>(name: string): EventChannel<T> {
  return channel(`nestjs-db-context:${name}`) as unknown as EventChannel<T>;
}

/** The channels of an operation. */
export class Operation<T> implements OperationChannels<T> {
  readonly start: EventChannel<T>;
  readonly end: EventChannel<T>;
  readonly asyncEnd: EventChannel<T>;
  readonly error: EventChannel<T>;

  constructor(name: string) {
    const of = (what: string): EventChannel<T> =>
      channel(`tracing:nestjs-db-context:${name}:${what}`) as unknown as EventChannel<T>;
    this.start = of('start');
    this.end = of('end');
    this.asyncEnd = of('asyncEnd');
    this.error = of('error');
  }

  get hasSubscribers(): boolean {
    return (
      this.start.hasSubscribers ||
      this.asyncEnd.hasSubscribers ||
      this.end.hasSubscribers ||
      this.error.hasSubscribers
    );
  }

  /**
   * Runs an operation, with the stores of its `start` channel. Its own promise is returned, so that
   * subscribers change nothing of when its caller goes on.
   *
   * @param ended completes the event; called with the result, or with the reason
   */
  run<R>(
    event: T,
    operate: () => Promise<R>,
    ended: {
      readonly succeeded: (result: R) => void;
      readonly failed: (reason: unknown) => void;
    },
  ): Promise<R> {
    return this.start.runStores(event, () => {
      const operating = operate();
      this.end.publish(event);
      operating.then(
        (result) => {
          ended.succeeded(result);
          this.asyncEnd.publish(event);
        },
        (reason: unknown) => {
          ended.failed(reason);
          this.error.publish(event);
          this.asyncEnd.publish(event);
        },
      );
      return operating;
    });
  }
}
