import type { PgClient, PgPool } from '../postgresql/pg-client.js';

type ConnectCallback = (error: unknown, client?: PgClient, release?: PgClient['release']) => void;

/** The pool of `pg`, whose `connect()` is a method of the object and takes a callback as well. */
interface TappedPool {
  connect: (callback?: ConnectCallback) => Promise<PgClient> | undefined;
}

/**
 * Makes a pool hand out other clients than its own: to MikroORM's statements that are in no transaction,
 * to its global entity manager, and to the application's own code.
 *
 * @param give makes the client that a caller gets
 * @returns a function that undoes this
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
    // Like the pool of pg, this never calls back before the caller has returned.
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
