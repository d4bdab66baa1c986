import { HostDrainTimeoutError } from '../errors.js';
import { queueOf, type PgPool } from '../postgresql/pg-client.js';
import { placeOf } from './claim.js';
import { CLOSE_LIMIT_MS, cutClients } from './cut-clients.js';
import { PoolDeadlockDetector } from './pool-deadlock-detector.js';
import { hostDrain } from '../telemetry/channels.js';
import type { ConnectionInfo } from '../telemetry/payloads.js';
import { millisecondsSince, withinLimit } from './time-limit.js';

/** How a pool is retired. */
interface Retirement {
  readonly connectionName: string;
  /** The host of the pool, for messages. */
  readonly host: string;
  /** How long the transactions on its connections may go on, in milliseconds. */
  readonly limitMs: number;
  /** What events call the connection. */
  readonly telemetry: ConnectionInfo;
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
  readonly #how: Retirement;
  readonly #timer: NodeJS.Timeout;
  readonly #since = performance.now();
  #isForced = false;

  constructor(pool: PgPool, successor: PgPool, how: Retirement) {
    this.#pool = pool;
    this.#how = how;
    PoolDeadlockDetector.of(pool).retire(successor);
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
    this.closed = ended.finally(() => {
      clearTimeout(this.#timer);
      this.#publishDrained();
    });
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

  #publishDrained(): void {
    if (hostDrain.hasSubscribers) {
      const { telemetry: connection, host } = this.#how;
      const durationMs = performance.now() - this.#since;
      hostDrain.publish({ connection, host, durationMs, isForced: this.#isForced });
    }
  }

  /** Ends the transactions that are still open. A commit that is under way has a limit of its own. */
  #force(afterMs: number): void {
    const { connectionName, host } = this.#how;
    this.#isForced = true;
    void cutClients(
      this.#pool,
      ({ holder }) => new HostDrainTimeoutError(placeOf(connectionName, holder), host, afterMs),
    );
  }
}
