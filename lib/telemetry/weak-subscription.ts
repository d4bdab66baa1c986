import type { EventChannel } from './typed-channel.js';

/**
 * Subscribes to a channel for as long as `listener` lives: channels are those of the process, and would keep
 * an application that was never closed.
 *
 * @param handle is called with the listener, and must not hold it itself
 * @param failed is called with what `handle` throws, which would be an uncaught exception of the application
 * @returns a function that ends it
 */
export function subscribeWeakly<L extends object, T>(
  channel: EventChannel<T>,
  listener: L,
  handle: (listener: L, event: T) => void,
  failed: (listener: L, error: unknown) => void,
): () => void {
  const reference = new WeakRef(listener);
  const deliver = (event: T): void => {
    const alive = reference.deref();
    if (alive === undefined) {
      channel.unsubscribe(deliver);
    } else {
      try {
        handle(alive, event);
      } catch (error) {
        failed(alive, error);
      }
    }
  };
  channel.subscribe(deliver);
  return () => void channel.unsubscribe(deliver);
}
