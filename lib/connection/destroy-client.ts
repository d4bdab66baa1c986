import type { PgClient } from '../postgresql/pg-client.js';

/**
 * Takes a client out of its pool for good. The socket is destroyed as well: on a half-open link
 * the polite goodbye of `release(true)` never ends, and the pool would not serve its waiters.
 */
export function destroyClient(client: PgClient): void {
  client.release(true);
  client.connection.stream.destroy();
}

/**
 * As {@link destroyClient}, but the socket lives until `settled`. The pool gets its slot back at once
 * all the same, and may connect another client in its place.
 */
export function destroyClientAfter(client: PgClient, settled: Promise<unknown>): void {
  const end = client.end?.bind(client);
  if (end === undefined) {
    destroyClient(client);
    return;
  }
  // The pool calls `end()` of a client that is released like this, and serves others when that has
  // called back; the real `end()` of `pg` would cut the statement that is still running.
  client.end = (callback) => callback?.();
  client.release(true);
  const cut = (): void => {
    end();
    client.connection.stream.destroy();
  };
  void settled.then(cut, cut);
}
