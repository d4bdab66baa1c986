import { pendingOf, type PgPool } from '../postgresql/pg-client.js';
import type { Claim, Holder } from './claim.js';
import { PoolDeadlockDetector, type Held } from './pool-deadlock-detector.js';
import { askAlone } from './standalone-client.js';
import { TIMED_OUT } from './time-limit.js';

/** How long the server may take to say who waits for whom, in milliseconds. */
const ASK_LIMIT_MS = 1_000;
/** Each look that finds nothing makes the pause before the next one longer by this factor. */
const PATIENCE = 2;

/**
 * Looks whether a unit of work waits for itself: a statement on one connection of it for a lock that
 * another connection of it holds. The server knows no deadlock there, since it does not know that the
 * code which could end the transaction awaits the statement.
 *
 * It looks only while the unit of work holds several connections of which one idles, and asks on a
 * connection of its own, so that it never takes the last one of the pool.
 *
 * @param claim has just got a client of `pool`, and its unit of work holds another one
 * @param pauseMs how long a statement may wait before the server is asked, in milliseconds
 */
export function watchSelfWaits(
  pool: PgPool,
  connectionName: string,
  claim: Claim,
  pauseMs: number,
): void {
  const detector = PoolDeadlockDetector.of(pool);
  const lookLater = (nextMs: number): void => {
    setTimeout(() => void look(nextMs), nextMs).unref();
  };
  const look = async (lastMs: number): Promise<void> => {
    const family = detector.family(claim);
    const waiting = family.filter(({ client }) => pendingOf(client) > 0);
    const idle = family.filter(({ client }) => pendingOf(client) === 0);
    if (!family.some((each) => each.claim === claim) || family.length === 1) {
      return;
    }
    if (waiting.length === 0 || idle.length === 0) {
      lookLater(pauseMs);
      return;
    }
    const found = await findWait(pool, waiting, idle).catch(() => undefined);
    if (found === undefined) {
      lookLater(lastMs * PATIENCE);
      return;
    }
    const { sql, waiter, blocker } = found;
    const isOver = (): boolean => !detector.holds(waiter) || pendingOf(waiter.client) === 0;
    if (!isOver()) {
      for (const holder of holdersOf([waiter, blocker])) {
        holder.waitsForItself?.({ connectionName, sql, sender: waiter.claim.holder, isOver });
      }
    }
  };
  lookLater(pauseMs);
}

function holdersOf(held: readonly Held[]): ReadonlySet<Holder> {
  return new Set(held.flatMap(({ claim }) => claim.holder ?? []));
}

interface FoundWait {
  readonly sql: string;
  readonly waiter: Held;
  readonly blocker: Held;
}

/** Asks the server for a statement on one of `waiting` that waits, perhaps behind others, for one of `idle`. */
async function findWait(
  pool: PgPool,
  waiting: readonly Held[],
  idle: readonly Held[],
): Promise<FoundWait | undefined> {
  // The options are not copied: their password is not enumerable, so a copy would lose it.
  const client = new pool.Client(pool.options);
  const answer = await askAlone(client, ASK_LIMIT_MS, (alone) =>
    alone.query(questionFor(pidsOf(waiting), pidsOf(idle))),
  );
  const [row] = answer === TIMED_OUT || Array.isArray(answer) ? [] : (answer.rows as WaitRow[]);
  const waiter = waiting.find((each) => each.client.processID === row?.waiter);
  const blocker = idle.find((each) => each.client.processID === row?.blocker);
  return row && waiter && blocker && { sql: row.sql ?? '', waiter, blocker };
}

interface WaitRow {
  readonly waiter: number;
  readonly blocker: number;
  readonly sql: string | null;
}

function pidsOf(held: readonly Held[]): string {
  return held.map(({ client }) => Number(client.processID)).join(', ');
}

function questionFor(waiting: string, idle: string): string {
  return `
    with recursive waits (waiter, blocker) as (
      select waiter, unnest(pg_blocking_pids(waiter)) from unnest(array[${waiting}]) as waiter
      union
      select waiter, unnest(pg_blocking_pids(blocker)) from waits
    )
    select waiter, blocker, query as sql
    from waits left join pg_stat_activity on pid = waiter
    where blocker in (${idle}) limit 1`;
}
