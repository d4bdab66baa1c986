import type { Connection } from '@mikro-orm/core';

import { AcquireTimeoutError, ConnectionFailedError } from '../errors.js';
import { isReached } from '../postgresql/lsn.js';
import { clientsOf, type PgClient } from '../postgresql/pg-client.js';
import { askReplayedLsn } from './ask-lsn.js';
import type { PoolState } from './pool-state.js';
import { placeOf, type Claim, type Holder } from './claim.js';
import { destroyClient } from './destroy-client.js';
import { HostPool, type HostPoolLimits } from './host-pool.js';
import type { ReserveHooks } from './reserve-hooks.js';
import { replicaLeave, replicaReturn } from '../telemetry/channels.js';
import { errorInfoOf } from '../telemetry/error-info.js';
import type { ConnectionInfo } from '../telemetry/payloads.js';
import type { SessionReset } from './session-reset.js';

/** Longest wait for a replica to answer with its LSN, in milliseconds. */
const ASK_LIMIT_MS = 2_000;

/** One replica of a connection. */
export interface ReplicaState {
  /** Host and port, `db2:5432`. */
  readonly host: string;
  /** Whether the replica could not be reached, and is not asked for a while. */
  readonly isLeftOut: boolean;
  /** Counters of its pool, or `undefined` while nothing has been asked of it. */
  readonly pool: PoolState | undefined;
}

/** What all replicas of a connection share. */
export interface ReplicaDependencies {
  readonly connectionName: string;
  /** What events call the connection. */
  readonly telemetry: ConnectionInfo;
  readonly limits: HostPoolLimits;
  readonly hooks: ReserveHooks;
  readonly reset: SessionReset | undefined;
  readonly retryAfterMs: number;
  readonly report: (message: string, error: unknown) => void;
  readonly holderHere: () => Holder | undefined;
}

/** One replica: its pool, and whether it is worth asking. */
export class Replica {
  readonly #dependencies: ReplicaDependencies;
  readonly pool: HostPool;
  /** Why the replica is left out, and until when, by the clock of `performance.now()`. */
  #refusal: { readonly error: unknown; retryAt: number } | undefined;
  /** The LSN that a client last answered; its server never goes back while the client is connected. */
  readonly #replayed = new WeakMap<PgClient, bigint>();

  constructor(connection: Connection, dependencies: ReplicaDependencies) {
    this.#dependencies = dependencies;
    const { connectionName, limits, reset, holderHere, telemetry } = dependencies;
    this.pool = new HostPool(connection, connectionName, limits, { reset, holderHere, telemetry });
  }

  get host(): string {
    return this.pool.host;
  }

  get state(): ReplicaState {
    return { host: this.host, isLeftOut: this.isLeftOut, pool: this.pool.state };
  }

  /** Why the replica is left out, if it is. */
  get refusal(): unknown {
    return this.#refusal?.error;
  }

  get isLeftOut(): boolean {
    return this.#refusal !== undefined;
  }

  /** Tries a replica that is left out again, in the background and once it is time. */
  lookAgain(): void {
    const refusal = this.#refusal;
    if (refusal !== undefined && refusal.retryAt <= performance.now()) {
      // Nobody else tries the replica until this attempt has ended.
      refusal.retryAt = Infinity;
      this.take({ holder: undefined, isBusy: true }).then(
        (client) => client.release(),
        () => {
          refusal.retryAt = performance.now() + this.#dependencies.retryAfterMs;
        },
      );
    }
  }

  /**
   * Takes a client.
   *
   * @throws {@link ConnectionFailedError} the replica could not be reached, and is left out from now on
   * @throws {@link AcquireTimeoutError}, {@link PoolDeadlockError} all clients of its pool are in use
   */
  async take(claim: Claim): Promise<PgClient> {
    const { hooks, reset } = this.#dependencies;
    try {
      const client = await this.pool.take(claim);
      await hooks.run(client, claim, reset?.stateOf(client));
      this.#isBack();
      return client;
    } catch (error) {
      // The pool is too small only if all its clients are in use. Otherwise the wait was for a new
      // connection, which the replica did not accept in time.
      if (error instanceof AcquireTimeoutError && (await this.#isInUse())) {
        throw error;
      }
      if (!(error instanceof ConnectionFailedError || error instanceof AcquireTimeoutError)) {
        throw error;
      }
      throw this.#leaveOut(error);
    }
  }

  /**
   * Whether the replica has replayed its log up to `lsn`.
   *
   * @throws {@link ConnectionFailedError} it did not answer; the client is destroyed
   */
  async hasReached(client: PgClient, lsn: bigint, { holder }: Claim): Promise<boolean> {
    const known = this.#replayed.get(client);
    if (known !== undefined && isReached(lsn, known)) {
      return true;
    }
    try {
      const replayed = await askReplayedLsn(client, ASK_LIMIT_MS);
      this.#replayed.set(client, replayed);
      return isReached(lsn, replayed);
    } catch (error) {
      destroyClient(client);
      const place = placeOf(this.#dependencies.connectionName, holder);
      throw this.#leaveOut(new ConnectionFailedError(place, error));
    }
  }

  #isBack(): void {
    if (this.#refusal !== undefined && replicaReturn.hasSubscribers) {
      const { telemetry: connection } = this.#dependencies;
      replicaReturn.publish({ connection, host: this.host, error: undefined });
    }
    this.#refusal = undefined;
  }

  #leaveOut(error: unknown): ConnectionFailedError {
    const { connectionName, retryAfterMs, report } = this.#dependencies;
    if (this.#refusal === undefined) {
      report(
        `a replica of connection "${connectionName}", ${this.host}, is left out for ${retryAfterMs} ms`,
        error,
      );
      if (replicaLeave.hasSubscribers) {
        replicaLeave.publish({
          connection: this.#dependencies.telemetry,
          host: this.host,
          error: errorInfoOf(error),
        });
      }
    }
    this.#refusal = { error, retryAt: performance.now() + retryAfterMs };
    return error instanceof ConnectionFailedError
      ? error
      : new ConnectionFailedError(connectionName, error);
  }

  /** Whether the pool is full of connected clients; only those have got a process id from the server. */
  async #isInUse(): Promise<boolean> {
    const pool = await this.pool.pool();
    const clients = clientsOf(pool);
    return clients.length >= pool.options.max && clients.every((each) => each.processID !== null);
  }
}
