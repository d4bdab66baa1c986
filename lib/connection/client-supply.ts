import { ConnectionClosedError } from '../errors.js';
import type { PgClient } from '../postgresql/pg-client.js';
import { placeOf, type Claim } from './claim.js';
import type { Failover } from './failover.js';
import type { HostPool } from './host-pool.js';
import type { ReplicaSet } from './replica-set.js';
import type { ReserveHooks } from './reserve-hooks.js';
import type { SessionReset } from './session-reset.js';

/** Provides a client for a claim; `fromPool` takes one as without it. */
export type ClientSource = (claim: Claim, fromPool: () => Promise<PgClient>) => Promise<PgClient>;

/** What the clients of a connection come from, and what is done with them before they are used. */
interface SupplyParts {
  readonly hosts: HostPool;
  readonly replicas: ReplicaSet | undefined;
  readonly failover: Failover | undefined;
  readonly reserveHooks: ReserveHooks;
  readonly sessionReset: SessionReset | undefined;
  /** Whether the connection is closed, so that it has no clients any more. */
  readonly isClosed: () => boolean;
}

/** The clients that the claims of one connection get: of its pool, of the pool of a replica, or of a test. */
export class ClientSupply {
  readonly #connectionName: string;
  readonly #parts: SupplyParts;
  #source: ClientSource | undefined;

  constructor(connectionName: string, parts: SupplyParts) {
    this.#connectionName = connectionName;
    this.#parts = parts;
  }

  /** Takes a client for a transaction, see {@link DbConnection.checkOut}. */
  take(claim: Claim): Promise<PgClient> {
    if (this.#parts.isClosed()) {
      return Promise.reject(new ConnectionClosedError(placeOf(this.#connectionName, claim.holder)));
    }
    return this.#source === undefined
      ? this.#takeFromServer(claim)
      : this.#source(claim, () => this.#takeFromServer(claim));
  }

  /** Takes a client of the pool, also where others replace those of transactions. */
  takeFromPool(claim: Claim): Promise<PgClient> {
    const { hosts, failover, reserveHooks } = this.#parts;
    const taken = hosts.take(claim);
    const watched = failover?.watch(taken) ?? taken;
    return reserveHooks.areSet ? this.#runHooks(watched, claim) : watched;
  }

  /** Whether others replace the clients of the pool. */
  get isReplaced(): boolean {
    return this.#source !== undefined;
  }

  /** Replaces the clients of the pool. @returns a function that undoes this */
  replace(source: ClientSource): () => void {
    this.#source = source;
    return () => {
      this.#source = undefined;
    };
  }

  #takeFromServer(claim: Claim): Promise<PgClient> {
    const { replicas } = this.#parts;
    return replicas === undefined || claim.mayReadReplica !== true
      ? this.takeFromPool(claim)
      : this.#takeToRead(replicas, claim);
  }

  async #takeToRead(replicas: ReplicaSet, claim: Claim): Promise<PgClient> {
    return (await replicas.take(claim)) ?? this.takeFromPool(claim);
  }

  async #runHooks(taken: Promise<PgClient>, claim: Claim): Promise<PgClient> {
    const { reserveHooks, sessionReset } = this.#parts;
    const client = await taken;
    await reserveHooks.run(client, claim, sessionReset?.stateOf(client));
    return client;
  }
}
