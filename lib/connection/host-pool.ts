import type { Connection } from '@mikro-orm/core';

import { ConnectionClosedError } from '../errors.js';
import type { KnownCode } from '../postgresql/hidden-code.js';
import type { PgClient, PgPool, StandaloneClient } from '../postgresql/pg-client.js';
import { checkOut, type CheckoutLimits, type CleanFor } from './checkout.js';
import { placeOf, type Claim } from './claim.js';
import { CurrentPool, type PoolParts } from './current-pool.js';
import { endPool } from './end-pool.js';
import { assertMovable, type OwnServer } from './mikro-orm-connection.js';
import { sharedErrorAt } from './placed-errors.js';
import { poolState, type PoolState } from './pool-state.js';
import { RetiredPool } from './retired-pool.js';
import { hostChange } from '../telemetry/channels.js';
import type { ConnectionInfo } from '../telemetry/payloads.js';
import type { SessionReset } from './session-reset.js';
import { formatServer, parseServerAddress, type ServerAddress } from './server-address.js';

/** The limits of a pool. */
export interface HostPoolLimits extends CheckoutLimits {
  readonly drainTimeoutMs: number;
  readonly hostDrainTimeoutMs: number;
}

/** What a pool works with beside its own connection. */
interface HostPoolParts extends PoolParts {
  /** What events call the connection. */
  readonly telemetry: ConnectionInfo;
}

/**
 * One connection object of MikroORM, with the pool of its current server, and the pools of its former
 * servers for as long as transactions are open on them.
 */
export class HostPool {
  readonly #name: string;
  readonly #limits: HostPoolLimits;
  readonly #reset: SessionReset | undefined;
  readonly #telemetry: ConnectionInfo;
  readonly #current: CurrentPool;
  readonly #retired = new Set<RetiredPool>();
  #changes: Promise<void> = Promise.resolve();
  #isClosed = false;

  /** @param name the name of the connection, for messages */
  constructor(connection: Connection, name: string, limits: HostPoolLimits, parts: HostPoolParts) {
    this.#name = name;
    this.#limits = limits;
    this.#reset = parts.reset;
    this.#telemetry = parts.telemetry;
    this.#current = new CurrentPool(connection, name, limits.deadlockTimeoutMs, parts);
  }

  /** Host and port of the server. */
  get host(): string {
    return formatServer(this.#current.server);
  }

  /** Name of the database. */
  get database(): string | undefined {
    return this.#current.server.database;
  }

  /** Counters of the pool, or `undefined` while nothing has been asked of it. */
  get state(): PoolState | undefined {
    const { last } = this.#current;
    return last === undefined ? undefined : poolState(last);
  }

  /** What is known of code that hides in the database of the current server. */
  get knownCode(): KnownCode {
    return this.#current.knownCode;
  }

  /** The Kysely instance that MikroORM compiles its queries with. */
  getKysely(): unknown {
    return this.#current.getKysely();
  }

  /**
   * The pool, which is made if there is none; this connects to nothing. It is asked for each time, since
   * MikroORM makes a new pool when it reconnects.
   *
   * @throws {@link ConnectionClosedError} {@link HostPool.close} was called
   * @throws {@link ConnectionFailedError}
   */
  pool(): Promise<PgPool> {
    return this.#isClosed
      ? Promise.reject(new ConnectionClosedError(this.#name))
      : this.#current.ask();
  }

  /**
   * The value of {@link HostPool.host} when this goes to a server.
   *
   * @param host see {@link parseServerAddress}
   * @throws {@link InvalidOptionsError} `host` is no address, or this cannot go to another server at all
   */
  nameOf(host: string): string {
    const own = this.#current.ownServer();
    assertMovable(own, this.#name);
    return formatServer({ ...own.logIn, ...parseServerAddress(host, this.#name) });
  }

  /**
   * Makes a client outside of all pools; it is not connected yet.
   *
   * @param host see {@link parseServerAddress}
   */
  async newClient(host: string): Promise<StandaloneClient> {
    const { Client, options } = await this.pool();
    return new Client({
      ...options,
      // `pg` makes the password not enumerable, so the copy above lacks it.
      ...this.#current.ownServer().logIn,
      ...parseServerAddress(host, this.#name),
      // The caller limits connecting and asking together.
      connectionTimeoutMillis: 0,
    });
  }

  /** Takes a client whose session holds nothing of another user (F7), see {@link checkOut}. */
  take(claim: Claim): Promise<PgClient> {
    const pool = this.#isClosed ? undefined : this.#current.known;
    return pool === undefined ? this.#takeFromMade(claim) : this.#takeFrom(pool, claim);
  }

  async #takeFromMade(claim: Claim): Promise<PgClient> {
    let pool: PgPool;
    try {
      pool = await this.pool();
    } catch (error) {
      throw sharedErrorAt(placeOf(this.#name, claim.holder), error);
    }
    return this.#takeFrom(pool, claim);
  }

  #takeFrom(pool: PgPool, claim: Claim): Promise<PgClient> {
    return checkOut(pool, this.#name, this.#limits, claim, this.#cleanFor);
  }

  /** Resets a client that another user has left something in; one that cannot be reset is destroyed. */
  readonly #cleanFor: CleanFor = (client, claim) => {
    const isReset = this.#reset?.beforeUse(client);
    // Its slot is left to a new one.
    return isReset?.then((isClean) => (isClean ? client : this.take(claim)));
  };

  /**
   * Makes new checkouts go to another server, after earlier changes are done (H1). Does not wait for
   * transactions that are open on the old server.
   *
   * @param host see {@link parseServerAddress}
   * @throws {@link InvalidOptionsError}, {@link ConnectionClosedError}
   */
  async changeTo(host: string): Promise<void> {
    const address = parseServerAddress(host, this.#name);
    const change = this.#changes.then(() => this.#change(address));
    this.#changes = change.catch(() => undefined);
    await change;
  }

  async #change(address: ServerAddress): Promise<void> {
    if (this.#isClosed) {
      throw new ConnectionClosedError(this.#name);
    }
    const own = this.#current.ownServer();
    if (isSameServer({ ...own.logIn, ...address }, this.#current.server)) {
      return;
    }
    const { host } = this;
    // The server may be unreachable.
    const old = await this.#current.askWithoutHooks();
    this.#current.goTo(own, address);
    this.#retire(old, await this.#current.ask(), host);
    if (hostChange.hasSubscribers) {
      hostChange.publish({ connection: this.#telemetry, from: host, to: this.host });
    }
  }

  #retire(old: PgPool, successor: PgPool, host: string): void {
    const retired = new RetiredPool(old, successor, {
      connectionName: this.#name,
      host,
      limitMs: this.#limits.hostDrainTimeoutMs,
      telemetry: this.#telemetry,
    });
    this.#retired.add(retired);
    void retired.closed.finally(() => this.#retired.delete(retired));
  }

  /**
   * Closes the pools of former servers, and the current pool if it is owned (H3). What is in use may go on
   * for `drainTimeoutMs`; then every client is cut, also those that code past the sessions has taken. No
   * client is given out any more, no change of the server is made, and a pool that is owned has no
   * successor.
   *
   * @param closeOrm closes MikroORM, which has no pool of the connection any more by then
   */
  async close(isOwned: boolean, closeOrm: () => Promise<void>): Promise<void> {
    this.#isClosed = true;
    this.#current.forgetCallers();
    await this.#changes;
    const { drainTimeoutMs } = this.#limits;
    const former = [...this.#retired].map((each) => each.close(drainTimeoutMs));
    const how = { connectionName: this.#name, drainTimeoutMs, closeOrm };
    await Promise.all([isOwned && endPool(this.#current, how), ...former]);
  }
}

function isSameServer(a: OwnServer['logIn'], b: OwnServer['logIn']): boolean {
  const keys = ['host', 'port', 'user', 'password', 'database'] as const;
  return keys.every((key) => a[key] === b[key]);
}
