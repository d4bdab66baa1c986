import { HostDrainTimeoutError } from '../errors.js';
import { cancelBackend } from '../postgresql/cancel-request.js';
import { clientsOf, queueOf, type PgClient, type PgPool } from '../postgresql/pg-client.js';
import { destroyClient } from './destroy-client.js';
import { PoolDeadlockDetector } from './pool-deadlock-detector.js';
import { millisecondsSince, withinLimit } from './time-limit.js';

/** How long a pool may take to close after its clients were ended by force, in milliseconds. */
const CLOSE_LIMIT_MS = 1_000;

/** How a pool is retired. */
interface Retirement {
  readonly connectionName: string;
  /** The host of the pool, for messages. */
  readonly host: string;
  /** How long the transactions on its connections may go on, in milliseconds. */
  readonly limitMs: number;
}

/**
 * A pool that has a successor. Callers that wait in it, or ask it later (through a Kysely instance that
 * the application has kept), are served by the successor. Transactions on its connections finish, within
 * a limit; then the pool is closed.
 */
export class RetiredPool {
  /** Resolves when the last of its connections is back and closed. */
  readonly closed: Promise<void>;
  readonly #pool: PgPool;
  readonly #detector: PoolDeadlockDetector;
  readonly #how: Retirement;
  readonly #timer: NodeJS.Timeout;
  readonly #since = performance.now();

  constructor(pool: PgPool, successor: PgPool, how: Retirement) {
    this.#pool = pool;
    this.#how = how;
    this.#detector = PoolDeadlockDetector.of(pool);
    this.#detector.retire(successor);
    // The claims of sessions have moved already. The callers that are left in the queue are code that
    // uses the pool by itself, of which the detector knows nothing.
    for (const item of queueOf(pool).splice(0)) {
      successor.connect((error, client, release) => {
        if (item.timedOut === true) {
          release?.();
        } else {
          item.callback(error, client, release);
        }
      });
    }
    pool.connect = successor.connect.bind(successor);
    const ended = pool.ending ? Promise.resolve() : pool.end();
    this.#timer = setTimeout(() => this.#force(how.limitMs), how.limitMs).unref();
    this.closed = ended.finally(() => clearTimeout(this.#timer));
  }

  /**
   * Waits until the pool is closed. Connections that are still in use after `limitMs` are ended.
   *
   * @param limitMs in milliseconds
   */
  async close(limitMs: number): Promise<void> {
    const timer = setTimeout(() => this.#force(millisecondsSince(this.#since)), limitMs);
    try {
      await withinLimit(this.closed, limitMs + CLOSE_LIMIT_MS);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends the transactions that are still open. A commit that is under way has a limit of its own. */
  #force(afterMs: number): void {
    const { connectionName, host } = this.#how;
    const known = new Map(this.#detector.held);
    const reason = new HostDrainTimeoutError(connectionName, host, afterMs);
    for (const [client, claim] of known) {
      if (claim.kill === undefined) {
        destroyClient(client);
      } else {
        claim.kill(reason);
      }
    }
    for (const client of clientsOf(this.#pool).filter((each) => !known.has(each))) {
      breakOff(client);
    }
  }
}

/** Ends a client that other code holds. That code gets an error, and gives the client back itself. */
function breakOff(client: PgClient): void {
  void cancelBackend(client);
  client.connection.stream.destroy();
}
