import { ConnectionFailedError } from '../errors.js';
import { pendingOf, type PgClient, type PgPool } from '../postgresql/pg-client.js';
import { isAskedFor } from './ask-pool.js';
import { checkOut } from './checkout.js';
import { placeOf, type Claim, type Holder } from './claim.js';
import { driverErrorAt } from './placed-errors.js';
import { tapPool } from './pool-tap.js';

/** Whose contexts the callers of a pool may run in. */
interface Claimant {
  /** The name of the connection, for messages. */
  readonly connectionName: string;
  readonly deadlockTimeoutMs: number;
  /** The unit of work that the calling code runs in. */
  readonly holderHere: () => Holder | undefined;
}

/** What makes a pool know whose units of work ask for its clients. */
interface Known {
  readonly claimants: Claimant[];
  readonly restore: () => void;
}

/** The pools whose callers are known. */
const knownPools = new WeakMap<PgPool, Known>();

/**
 * Makes the clients that code of a unit of work takes from a pool past its session count as claims of that
 * unit of work: those of forks, of `@CreateRequestContext()`, of `getConnection()`. Else nobody would find
 * that it waits for itself (C3). The other callers of the pool are served as before.
 *
 * @returns a function that ends this; after the last one, the pool is what it was before
 */
export function claimPast(pool: PgPool, claimant: Claimant): () => void {
  const { claimants, restore } = knownPools.get(pool) ?? tapFor(pool);
  claimants.push(claimant);
  return () => {
    claimants.splice(claimants.indexOf(claimant), 1);
    if (claimants.length === 0) {
      restore();
    }
  };
}

function tapFor(pool: PgPool): Known {
  const claimants: Claimant[] = [];
  const undo = tapPool(pool, () => (isAskedFor(pool) ? undefined : clientForUnit(pool, claimants)));
  const restore = (): void => {
    knownPools.delete(pool);
    undo();
  };
  const known: Known = { claimants, restore };
  knownPools.set(pool, known);
  return known;
}

/** Takes a client for the unit of work that the calling code runs in, if it runs in any. */
function clientForUnit(
  pool: PgPool,
  claimants: readonly Claimant[],
): Promise<PgClient> | undefined {
  for (const { connectionName, deadlockTimeoutMs, holderHere } of claimants) {
    const holder = holderHere();
    if (holder !== undefined) {
      // How long it waits at most is up to the options of the pool, as for any caller of it.
      const limits = { acquireTimeoutMs: undefined, deadlockTimeoutMs };
      const claim = new ClaimPast(holder);
      return checkOut(pool, connectionName, limits, claim).then(
        (client) => (claim.client = client),
        (error: unknown) => {
          throw error instanceof ConnectionFailedError
            ? driverErrorAt(placeOf(connectionName, holder), error.cause)
            : error;
        },
      );
    }
  }
  return undefined;
}

class ClaimPast implements Claim {
  readonly holder: Holder;
  readonly isPast = true;
  client: PgClient | undefined;

  constructor(holder: Holder) {
    this.holder = holder;
  }

  get isBusy(): boolean {
    return this.client !== undefined && pendingOf(this.client) > 0;
  }
}
