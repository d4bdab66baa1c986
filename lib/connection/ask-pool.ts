import type { PgClient, PgPool } from '../postgresql/pg-client.js';

/** The pools that this library is asking for a client, which takes no longer than the call. */
const asked = new WeakSet<PgPool>();

/** Asks a pool for a client, for a claim that is known. */
export function askPool(pool: PgPool): Promise<PgClient> {
  asked.add(pool);
  try {
    return pool.connect();
  } finally {
    asked.delete(pool);
  }
}

/** Whether a call of `pool.connect()` is that of {@link askPool}. */
export function isAskedFor(pool: PgPool): boolean {
  return asked.has(pool);
}
