import type { Connection } from '@mikro-orm/core';

import { ConnectionClosedError, ConnectionFailedError } from '../errors.js';
import type { KnownCode } from '../postgresql/hidden-code.js';
import type { PgClient, PgPool, StandaloneClient } from '../postgresql/pg-client.js';
import { checkOut, type CheckoutLimits, type CleanFor } from './checkout.js';
import { placeOf, type Claim, type Holder } from './claim.js';
import { claimPast } from './claims-past.js';
import { CLOSE_LIMIT_MS, cutClients, refuseCallers, refuseWaiting } from './cut-clients.js';
import {
  assertMovable,
  isPointed,
  ownServerOf,
  pointAt,
  pointAtNothing,
  type OwnServer,
  type SqlConnection,
} from './mikro-orm-connection.js';
import { sharedErrorAt } from './placed-errors.js';
import { poolState, type PoolState } from './pool-state.js';
import { preparePool } from './prepare-pool.js';
import { RetiredPool } from './retired-pool.js';
import { hostChange } from '../telemetry/channels.js';
import type { ConnectionInfo } from '../telemetry/payloads.js';
import type { SessionReset } from './session-reset.js';
import { formatServer, parseServerAddress, type ServerAddress } from './server-address.js';
import { withinLimit } from './time-limit.js';

/** The limits of a pool. */
export interface HostPoolLimits extends CheckoutLimits {
  readonly drainTimeoutMs: number;
  readonly hostDrainTimeoutMs: number;
}

/** What a pool works with beside its own connection. */
interface HostPoolParts {
  readonly reset: SessionReset | undefined;
  readonly holderHere: () => Holder | undefined;
  readonly telemetry: ConnectionInfo;
}

/**
 * One connection object of MikroORM, with the pool of its current server, and the pools of its former
 * servers for as long as transactions are open on them.
 */
export class HostPool {
  readonly #connection: SqlConnection;
  readonly #name: string;
  readonly #limits: HostPoolLimits;
  readonly #reset: SessionReset | undefined;
  readonly #holderHere: () => Holder | undefined;
  /** Ends that the callers of the pool are known. */
  #forgetCallers: (() => void) | undefined;
  readonly #telemetry: ConnectionInfo;
  /** The server of the connection's own options, read while it was not pointed elsewhere. */
  #own: OwnServer | undefined;
  #pointed: unknown;
  #server: OwnServer['logIn'] | undefined;
  #pool: PgPool | undefined;
  /** The Kysely instance that the pool was made for. */
  #kysely: unknown;
  /** Of a pool that is closing, or closed. */
  #lastKysely: unknown;
  #knownCode: KnownCode = { names: undefined };
  readonly #retired = new Set<RetiredPool>();
  #changes: Promise<void> = Promise.resolve();
  #isClosed = false;

  /**
   * @param name the name of the connection, for messages
   * @param of `reset` resets what is left in the sessions of clients, where it may not stay; `holderHere`
   *   finds the unit of work that the calling code runs in; `telemetry` is what events call the connection
   */
  constructor(
    connection: Connection,
    name: string,
    limits: HostPoolLimits,
    { reset, holderHere, telemetry }: HostPoolParts,
  ) {
    this.#connection = connection as unknown as SqlConnection;
    this.#name = name;
    this.#limits = limits;
    this.#reset = reset;
    this.#holderHere = holderHere;
    this.#telemetry = telemetry;
  }

  /** Host and port of the server. */
  get host(): string {
    this.#server ??= this.#ownServer().logIn;
    return formatServer(this.#server);
  }

  /** Name of the database. */
  get database(): string | undefined {
    this.#server ??= this.#ownServer().logIn;
    return this.#server.database;
  }

  /** Counters of the pool, or `undefined` while nothing has been asked of it. */
  get state(): PoolState | undefined {
    return this.#pool === undefined ? undefined : poolState(this.#pool);
  }

  /** What is known of code that hides in the database of the current server. */
  get knownCode(): KnownCode {
    return this.#knownCode;
  }

  /** The Kysely instance that MikroORM compiles its queries with. */
  getKysely(): unknown {
    return this.#lastKysely ?? this.#connection.getClient();
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
      : this.#currentPool();
  }

  async #currentPool(): Promise<PgPool> {
    let pool: PgPool;
    try {
      pool = (await this.#connection.getNativeClient()) as PgPool;
    } catch (error) {
      throw error instanceof ConnectionFailedError
        ? error
        : new ConnectionFailedError(this.#name, error);
    }
    this.#kysely = this.#connection.getClient();
    if (pool !== this.#pool) {
      this.#pool = pool;
      preparePool(pool);
      this.#knowCallers(pool);
      this.#reset?.watch(pool);
      this.#knownCode = { names: undefined };
      if (!isPointed(this.#connection, this.#pointed)) {
        this.#server = undefined;
      }
    }
    return pool;
  }

  #knowCallers(pool: PgPool): void {
    const { deadlockTimeoutMs } = this.#limits;
    this.#forgetCallers?.();
    this.#forgetCallers = claimPast(pool, {
      connectionName: this.#name,
      deadlockTimeoutMs,
      holderHere: this.#holderHere,
    });
  }

  /** The pool, where MikroORM has made no other one since it was last asked, so that nothing is to be waited for. */
  get #knownPool(): PgPool | undefined {
    return !this.#isClosed && this.#connection.getClient() === this.#kysely
      ? this.#pool
      : undefined;
  }

  /**
   * The value of {@link HostPool.host} when this goes to a server.
   *
   * @param host see {@link parseServerAddress}
   * @throws {@link InvalidOptionsError} `host` is no address, or this cannot go to another server at all
   */
  nameOf(host: string): string {
    const own = this.#ownServer();
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
      ...this.#ownServer().logIn,
      ...parseServerAddress(host, this.#name),
      // The caller limits connecting and asking together.
      connectionTimeoutMillis: 0,
    });
  }

  /** Takes a client whose session holds nothing of another user (F7), see {@link checkOut}. */
  take(claim: Claim): Promise<PgClient> {
    const pool = this.#knownPool;
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
    this.#forgetCallers?.();
    this.#forgetCallers = undefined;
    await this.#changes;
    const { drainTimeoutMs } = this.#limits;
    const former = [...this.#retired].map((each) => each.close(drainTimeoutMs));
    await Promise.all([isOwned && this.#closeCurrent(closeOrm), ...former]);
  }

  async #closeCurrent(closeOrm: () => Promise<void>): Promise<void> {
    const { drainTimeoutMs } = this.#limits;
    const pool = await this.#poolToEnd();
    const reason = new ConnectionClosedError(this.#name, drainTimeoutMs);
    const refusal = (): Error => new ConnectionClosedError(this.#name);
    if (pool !== undefined) {
      // Transactions that are still open compile with it.
      this.#lastKysely = this.getKysely();
      refuseCallers(pool, refusal);
      pointAtNothing(this.#connection, refusal);
    }
    let cut: Promise<void> | undefined;
    const timer = setTimeout(() => {
      cut =
        pool &&
        cutClients(
          pool,
          ({ holder }) => new ConnectionClosedError(placeOf(this.#name, holder), drainTimeoutMs),
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
  async #poolToEnd(): Promise<PgPool | undefined> {
    try {
      // Hooks of the first connect are skipped: nobody uses the pool any more.
      await this.#connection.connect({ skipOnConnect: true });
      return await this.#currentPool();
    } catch {
      return undefined;
    }
  }

  async #change(address: ServerAddress): Promise<void> {
    if (this.#isClosed) {
      throw new ConnectionClosedError(this.#name);
    }
    const own = this.#ownServer();
    const server = { ...own.logIn, ...address };
    if (isSameServer(server, (this.#server ??= own.logIn))) {
      return;
    }
    const { host } = this;
    // Hooks of the first connect are skipped: the server may be unreachable.
    await this.#connection.connect({ skipOnConnect: true });
    const old = await this.#currentPool();
    this.#pointed = pointAt(this.#connection, this.#name, own, address);
    this.#server = server;
    this.#retire(old, await this.#currentPool(), host);
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

  #ownServer(): OwnServer {
    if (this.#own === undefined || !isPointed(this.#connection, this.#pointed)) {
      this.#own = ownServerOf(this.#connection);
    }
    return this.#own;
  }
}

async function end(pool: PgPool | undefined): Promise<void> {
  if (pool?.ending === false) {
    await pool.end();
  }
}

function isSameServer(a: OwnServer['logIn'], b: OwnServer['logIn']): boolean {
  const keys = ['host', 'port', 'user', 'password', 'database'] as const;
  return keys.every((key) => a[key] === b[key]);
}
