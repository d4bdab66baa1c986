import { ConnectionClosedError } from '../errors.js';
import type { PgPool } from '../postgresql/pg-client.js';
import { placeOf } from './claim.js';
import type { CurrentPool } from './current-pool.js';
import { CLOSE_LIMIT_MS, cutClients, refuseCallers, refuseWaiting } from './cut-clients.js';
import { withinLimit } from './time-limit.js';

/** How a pool ends. */
interface PoolEnd {
  readonly connectionName: string;
  /** How long what is in use may go on, in milliseconds. */
  readonly drainTimeoutMs: number;
  /** Closes MikroORM, which has no pool of the connection any more by then. */
  readonly closeOrm: () => Promise<void>;
}

/**
 * Ends the pool of a connection that closes, without a successor (H3): no client is given out any more, and
 * those that are still in use after the limit are cut.
 */
export async function endPool(
  current: CurrentPool,
  { connectionName, drainTimeoutMs, closeOrm }: PoolEnd,
): Promise<void> {
  const pool = await poolToEnd(current);
  const reason = new ConnectionClosedError(connectionName, drainTimeoutMs);
  const refusal = (): Error => new ConnectionClosedError(connectionName);
  if (pool !== undefined) {
    refuseCallers(pool, refusal);
    current.goNowhere(refusal);
  }
  let cut: Promise<void> | undefined;
  const timer = setTimeout(() => {
    cut =
      pool &&
      cutClients(
        pool,
        ({ holder }) => new ConnectionClosedError(placeOf(connectionName, holder), drainTimeoutMs),
      );
  }, drainTimeoutMs);
  try {
    await withinLimit(Promise.all([end(pool), closeOrm()]), drainTimeoutMs + CLOSE_LIMIT_MS);
    // The process may end after this: a request that has not left leaves the statement and its locks.
    await cut;
  } finally {
    clearTimeout(timer);
    if (pool !== undefined) {
      refuseWaiting(pool, reason);
    }
  }
}

/** The pool, also where only MikroORM has used it; none where the application has made it itself. */
async function poolToEnd(current: CurrentPool): Promise<PgPool | undefined> {
  try {
    // Nobody uses the pool any more.
    return await current.askWithoutHooks();
  } catch {
    return undefined;
  }
}

async function end(pool: PgPool | undefined): Promise<void> {
  if (pool?.ending === false) {
    await pool.end();
  }
}
