import type { EventChannel, EventStore } from '../telemetry/index.js';

/** Is called with what a listener has thrown. */
export type ListenerFailed = (error: unknown) => void;

/**
 * Subscriptions that end together. What a listener throws is reported: on a channel it would become an
 * uncaught exception of the application.
 */
export class Subscriptions {
  readonly #failed: ListenerFailed;
  readonly #ends: (() => void)[] = [];

  constructor(failed: ListenerFailed) {
    this.#failed = failed;
  }

  listen<T>(channel: EventChannel<T>, listener: (event: T) => void): void {
    const guarded = (event: T): void => {
      try {
        listener(event);
      } catch (error) {
        this.#failed(error);
      }
    };
    channel.subscribe(guarded);
    this.#ends.push(() => channel.unsubscribe(guarded));
  }

  /** Runs what the channel announces with a value in a store; with `fallback()` where `valueOf` fails. */
  bind<T, S>(
    channel: EventChannel<T>,
    store: EventStore<S>,
    valueOf: (event: T) => S,
    fallback: () => S,
  ): void {
    channel.bindStore(store, (event) => {
      try {
        return valueOf(event);
      } catch (error) {
        this.#failed(error);
        return fallback();
      }
    });
    this.#ends.push(() => channel.unbindStore(store));
  }

  end(): void {
    this.#ends.splice(0).forEach((end) => end());
  }
}
