import type { PgClient, PgPool } from '../postgresql/pg-client.js';

type ConnectCallback = (error: unknown, client?: PgClient, release?: PgClient['release']) => void;

/** The pool of `pg`, whose `connect()` is a method of the object and takes a callback as well. */
interface TappedPool {
  connect: (callback?: ConnectCallback) => Promise<PgClient> | undefined;
  end: (callback?: () => void) => Promise<void>;
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
  const connect: TappedPool['connect'] = (callback) => {
    const client = give();
    if (callback === undefined) {
      return Promise.resolve(client);
    }
    // Like the pool of pg, this never calls back before the caller has returned.
    queueMicrotask(() => callback(undefined, client, (destroy) => client.release(destroy)));
    return undefined;
  };
  tapped.connect = connect;
  return () => {
    if (tapped.connect !== connect) {
      // A connection that closes has put one there that refuses everybody.
      return;
    }
    if (isOwn) {
      tapped.connect = before;
    } else {
      delete (tapped as Partial<TappedPool>).connect;
    }
  };
}

/**
 * Runs `first` before a pool ends, which waits for all of its clients.
 *
 * @returns a function that undoes this
 */
export function beforePoolEnds(pool: PgPool, first: () => Promise<unknown>): () => void {
  const tapped = pool as unknown as TappedPool;
  const end = tapped.end.bind(tapped);
  tapped.end = async (callback) => {
    await first();
    await end(callback);
  };
  return () => {
    delete (tapped as Partial<TappedPool>).end;
  };
}
