import { setTimeout as sleep } from 'node:timers/promises';

import type { Connection } from '@mikro-orm/core';

import { ConnectionFailedError, InvalidOptionsError, ReplicasUnavailableError } from '../errors.js';
import { UNREACHABLE_LSN } from '../postgresql/lsn.js';
import type { PgClient } from '../postgresql/pg-client.js';
import { replicaWait } from '../telemetry/channels.js';
import type { ConnectionInfo } from '../telemetry/payloads.js';
import { placeOf, type Claim, type Holder } from './claim.js';
import type { HostPool } from './host-pool.js';
import { Replica, type ReplicaDependencies, type ReplicaState } from './replica.js';

/** Pauses between two checks of the replicas' LSNs, in milliseconds. */
const FIRST_PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 50;

/** How read-only transactions use replicas. */
export interface ReadSettings {
  readonly readFrom: {
    /** Chooses the host that is asked first; a function returns one of the hosts, or its index. */
    readonly choose: 'round-robin' | ((hosts: readonly string[]) => number | string);
    /** What happens when no replica answers. */
    readonly fallback: 'primary' | 'error';
    /** How long a replica is left out after it could not be reached. */
    readonly retryAfterMs: number;
  };
  readonly readYourWrites: ReadYourWritesSettings | undefined;
}

/** The option `readYourWrites` of a connection, with every default filled in. */
export interface ReadYourWritesSettings {
  /** How the LSN of the last write is carried to the client and back. */
  readonly via: 'cookie' | 'header';
  readonly name: string;
  /** How long a read waits for a replica to have that LSN. */
  readonly waitMs: number;
  /** How long an LSN counts. */
  readonly maxAgeSeconds: number;
  /** Whether the cookie is sent over TLS alone. */
  readonly secure: boolean;
}

/** The result of asking each replica once. */
interface Round {
  readonly client?: PgClient;
  /** Whether a replica could be reached that has not replayed enough yet. */
  readonly isBehind: boolean;
}

/** The replicas of one connection. */
export class ReplicaSet {
  readonly #name: string;
  readonly #telemetry: ConnectionInfo;
  readonly #replicas: readonly Replica[];
  readonly #options: ReadSettings;
  #turn = 0;
  /**
   * The replica that each unit of work reads from: another one may be behind it, and a unit of work must
   * not read backwards in time.
   */
  readonly #chosen = new WeakMap<Holder, Replica>();

  constructor(
    connections: readonly Connection[],
    options: ReadSettings,
    dependencies: Omit<ReplicaDependencies, 'retryAfterMs'>,
  ) {
    const { retryAfterMs } = options.readFrom;
    this.#name = dependencies.connectionName;
    this.#telemetry = dependencies.telemetry;
    this.#options = options;
    this.#replicas = connections.map(
      (each) => new Replica(each, { ...dependencies, retryAfterMs }),
    );
  }

  get pools(): readonly HostPool[] {
    return this.#replicas.map(({ pool }) => pool);
  }

  get states(): readonly ReplicaState[] {
    return this.#replicas.map(({ state }) => state);
  }

  /**
   * Takes a client for a read-only transaction, from a replica that has replayed everything that the unit
   * of work must see.
   *
   * @returns `undefined` where the primary has to serve
   * @throws {@link ReplicasUnavailableError} no replica could be reached, and the primary is not to serve
   * @throws {@link AcquireTimeoutError}, {@link PoolDeadlockError}
   */
  async take(claim: Claim): Promise<PgClient | undefined> {
    const lsn = claim.holder?.writtenLsns?.of(this.#name);
    if (lsn === UNREACHABLE_LSN) {
      return undefined;
    }
    const since = performance.now();
    const until = since + (this.#options.readYourWrites?.waitMs ?? 0);
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
      const { client, isBehind } = await this.#askEach(claim, lsn);
      const leftMs = until - performance.now();
      if (client !== undefined || !isBehind || leftMs <= 0) {
        if (
          replicaWait.hasSubscribers &&
          lsn !== undefined &&
          (pauseMs > FIRST_PAUSE_MS || (isBehind && client === undefined))
        ) {
          replicaWait.publish({
            connection: this.#telemetry,
            context: claim.holder?.telemetry,
            durationMs: performance.now() - since,
            isReached: client !== undefined,
          });
        }
        return client;
      }
      // No client is held during the pause, so that other transactions can use it.
      await sleep(Math.min(pauseMs, leftMs));
    }
  }

  /** Closes all pools at the same time, see {@link HostPool.close}. */
  async close(isOwned: boolean, closeOrm: () => Promise<void>): Promise<void> {
    await Promise.all(this.pools.map((pool) => pool.close(isOwned, closeOrm)));
  }

  async #askEach(claim: Claim, lsn: bigint | undefined): Promise<Round> {
    let isBehind = false;
    for (const replica of this.#inOrder(claim.holder)) {
      try {
        const client = await replica.take(claim);
        if (lsn === undefined || (await replica.hasReached(client, lsn, claim))) {
          if (claim.holder !== undefined) {
            this.#chosen.set(claim.holder, replica);
          }
          return { client, isBehind };
        }
        client.release();
        isBehind = true;
      } catch (error) {
        // Nothing of the transaction has been sent, so the next replica may serve it.
        if (!(error instanceof ConnectionFailedError)) {
          throw error;
        }
      }
    }
    if (!isBehind && this.#options.readFrom.fallback === 'error') {
      throw new ReplicasUnavailableError(
        placeOf(this.#name, claim.holder),
        this.#replicas.map(({ host, refusal }) => ({ host, error: refusal })),
      );
    }
    return { isBehind };
  }

  /** The replicas that are worth asking, the chosen one first. */
  #inOrder(holder: Holder | undefined): readonly Replica[] {
    const known = this.#replicas.filter((each) => !each.isLeftOut);
    // A replica that was left out may be back, and asking it is better than an error.
    const isLastResort = known.length === 0 && this.#options.readFrom.fallback === 'error';
    const candidates = isLastResort ? this.#replicas : known;
    if (!isLastResort) {
      this.#replicas.forEach((each) => each.lookAgain());
    }
    if (candidates.length === 0) {
      return candidates;
    }
    const former = holder === undefined ? undefined : this.#chosen.get(holder);
    const first =
      former !== undefined && candidates.includes(former)
        ? candidates.indexOf(former)
        : this.#choose(candidates);
    return [...candidates.slice(first), ...candidates.slice(0, first)];
  }

  #choose(candidates: readonly Replica[]): number {
    const { choose } = this.#options.readFrom;
    if (choose === 'round-robin') {
      return this.#turn++ % candidates.length;
    }
    const hosts = candidates.map(({ host }) => host);
    const chosen = choose(hosts);
    const index = typeof chosen === 'number' ? chosen : hosts.indexOf(chosen);
    if (candidates[index] === undefined) {
      throw new InvalidOptionsError(
        `readFrom.choose() of connection "${this.#name}" returned ${String(chosen)}. Return one of the ` +
          `hosts that it is given (${hosts.join(', ')}), or its index.`,
      );
    }
    return index;
  }
}
