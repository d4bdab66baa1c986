import type { EventChannel, EventStore } from './typed-channel.js';

/** Is called with what a listener has thrown. */
export type ListenerFailed = (error: unknown) => void;

/** A listener that throws nothing: what it would throw is reported. */
export function guarded<A extends unknown[]>(
  listener: (...event: A) => void,
  failed: ListenerFailed,
): (...event: A) => void {
  return (...event) => {
    try {
      listener(...event);
    } catch (error) {
      failed(error);
    }
  };
}

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
    const subscribed = guarded(listener, this.#failed);
    channel.subscribe(subscribed);
    this.#ends.push(() => channel.unsubscribe(subscribed));
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
