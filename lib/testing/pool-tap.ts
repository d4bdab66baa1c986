import type { PgClient, PgPool } from '../postgresql/pg-client.js';

type ConnectCallback = (error: unknown, client?: PgClient, release?: PgClient['release']) => void;

/** The pool of `pg`, whose `connect()` is a method of the object and takes a callback as well. */
interface TappedPool {
  connect: (callback?: ConnectCallback) => Promise<PgClient> | undefined;
}

/**
 * Gives clients of another making to whoever asks a pool: MikroORM's statements that are in no
 * transaction, its global entity manager, and the application's own use of the pool.
 *
 * @returns takes the tap away
 */
export function tapPool(pool: PgPool, give: () => PgClient): () => void {
  const tapped = pool as unknown as TappedPool;
  const isOwn = Object.hasOwn(tapped, 'connect');
  const before = tapped.connect;
  tapped.connect = (callback) => {
    const client = give();
    if (callback === undefined) {
      return Promise.resolve(client);
    }
    // As the pool does it: never before the caller has returned.
    queueMicrotask(() => callback(undefined, client, (destroy) => client.release(destroy)));
    return undefined;
  };
  return () => {
    if (isOwn) {
      tapped.connect = before;
    } else {
      delete (tapped as Partial<TappedPool>).connect;
    }
  };
}
