import {
  queueOf,
  type ConnectCallback,
  type PendingItem,
  type PgPool,
} from '../postgresql/pg-client.js';

/** The pools that this library is asking for a client, which takes no longer than the call. */
const asked = new WeakSet<PgPool>();

/**
 * Asks a pool for a client, for a claim that is known.
 *
 * @param answer is called once, perhaps before this returns; by whoever gives a client back, in the async
 *   context of that
 * @param limitMs what the caller limits its wait to, in milliseconds: the pool then keeps no timer for it
 * @returns the place in the queue, where there is one
 */
export function askPool(
  pool: PgPool,
  answer: ConnectCallback,
  limitMs: number | undefined,
): PendingItem | undefined {
  const { options, waitingCount } = pool;
  const { connectionTimeoutMillis = 0 } = options;
  const isLimited = limitMs !== undefined && limitMs <= connectionTimeoutMillis;
  if (isLimited && !connects(pool)) {
    options.connectionTimeoutMillis = 0;
  }
  asked.add(pool);
  try {
    pool.connect(answer);
  } finally {
    asked.delete(pool);
    if (isLimited) {
      options.connectionTimeoutMillis = connectionTimeoutMillis;
    }
  }
  return pool.waitingCount > waitingCount ? queueOf(pool).at(-1) : undefined;
}

/** Whether a pool makes a new client for who asks now. */
export function connects(pool: PgPool): boolean {
  return pool.idleCount === 0 && pool.totalCount < pool.options.max;
}

/** Whether a call of `pool.connect()` is that of {@link askPool}. */
export function isAskedFor(pool: PgPool): boolean {
  return asked.has(pool);
}
