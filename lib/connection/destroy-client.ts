import type { PgClient } from '../postgresql/pg-client.js';

/**
 * Takes a client out of its pool for good. Its socket is destroyed as well: on a half-open link the
 * graceful end of `release(true)` never completes, and the pool would not serve the callers that wait.
 */
export function destroyClient(client: PgClient): void {
  client.release(true);
  client.connection.stream.destroy();
}

/**
 * Does what {@link destroyClient} does, but leaves the socket open until `settled`. The pool gets its slot
 * back at once, and may connect another client in its place.
 */
export function destroyClientAfter(client: PgClient, settled: Promise<unknown>): void {
  endAfter(client, settled, () => client.release(true));
}

/**
 * Ends a client, but leaves its socket open until `settled`.
 *
 * @param leavePool makes the pool end the client, and so give up its slot
 */
export function endAfter(client: PgClient, settled: Promise<unknown>, leavePool: () => void): void {
  const end = client.end?.bind(client);
  if (end === undefined) {
    leavePool();
    client.connection.stream.destroy();
    return;
  }
  // The pool calls `end()` of a client that leaves it, and serves other callers when that calls back.
  // The real `end()` of `pg` would close the socket under the statement that still runs.
  client.end = (callback) => callback?.();
  leavePool();
  const cut = (): void => {
    // Without it, `pg` would emit an error, which ends the process where the holder listens to none.
    end();
    client.connection.stream.destroy();
  };
  void settled.then(cut, cut);
}
