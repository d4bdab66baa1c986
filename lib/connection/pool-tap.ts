import { callbackify } from 'node:util';

import type { PgClient, PgPool } from '../postgresql/pg-client.js';
import { replaceMethod } from './replace-method.js';

type ConnectCallback = (error: unknown, client?: PgClient, release?: PgClient['release']) => void;

/** The pool of `pg`, whose `connect()` is a method of the object and takes a callback as well. */
interface TappedPool {
  connect: (callback?: ConnectCallback) => Promise<PgClient> | undefined;
}

const NOTHING_TO_RELEASE = (): void => undefined;

/**
 * Makes a pool hand out clients in another way than its own: to MikroORM's statements that are in no
 * transaction, to its global entity manager, and to the application's own code.
 *
 * @param give provides the client that a caller gets, and is called in the caller's async context;
 *   `undefined` where the caller is to be served by the pool itself, at once
 * @returns a function that undoes this, unless the pool was changed once more since
 */
export function tapPool(pool: PgPool, give: () => Promise<PgClient> | undefined): () => void {
  // A connection that closes puts a method there that refuses everybody, which stays.
  return replaceMethod(pool as unknown as TappedPool, 'connect', (before) => (callback) => {
    const given = give();
    if (given === undefined) {
      return before.call(pool, callback);
    }
    if (callback === undefined) {
      return given;
    }
    // Like the pool of pg, this never calls back before the caller has returned.
    callbackify(() => given)((error: unknown, client) => {
      if (error === null) {
        callback(undefined, client, (destroy) => client.release(destroy));
      } else {
        callback(error, undefined, NOTHING_TO_RELEASE);
      }
    });
    return undefined;
  });
}
