import type { Connection } from '@mikro-orm/core';

import { ConnectionFailedError } from '../errors.js';
import type { KnownCode } from '../postgresql/hidden-code.js';
import type { PgPool } from '../postgresql/pg-client.js';
import { claimPast } from './claims-past.js';
import type { Holder } from './claim.js';
import {
  isPointed,
  ownServerOf,
  pointAt,
  pointAtNothing,
  type OwnServer,
  type SqlConnection,
} from './mikro-orm-connection.js';
import { preparePool } from './prepare-pool.js';
import type { ServerAddress } from './server-address.js';
import type { SessionReset } from './session-reset.js';

/** What is made known to each pool. */
export interface PoolParts {
  /** Resets what is left in the sessions of clients, where it may not stay. */
  readonly reset: SessionReset | undefined;
  /** Finds the unit of work that the calling code runs in. */
  readonly holderHere: () => Holder | undefined;
}

/**
 * The pool that one connection object of MikroORM has now, and the server that it belongs to. MikroORM makes
 * another pool where it reconnects, and where the connection is pointed at another server.
 */
export class CurrentPool {
  readonly #connection: SqlConnection;
  readonly #name: string;
  readonly #deadlockTimeoutMs: number;
  readonly #parts: PoolParts;
  /** Ends that the callers of the pool are known. */
  #forgetCallers: (() => void) | undefined;
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

  /** @param name the name of the connection, for messages */
  constructor(connection: Connection, name: string, deadlockTimeoutMs: number, parts: PoolParts) {
    this.#connection = connection as unknown as SqlConnection;
    this.#name = name;
    this.#deadlockTimeoutMs = deadlockTimeoutMs;
    this.#parts = parts;
  }

  /** Where the pool connects to, and as whom. */
  get server(): OwnServer['logIn'] {
    return (this.#server ??= this.ownServer().logIn);
  }

  /** The server in the connection's own options. */
  ownServer(): OwnServer {
    if (this.#own === undefined || !isPointed(this.#connection, this.#pointed)) {
      this.#own = ownServerOf(this.#connection);
    }
    return this.#own;
  }

  /** The pool as it was when it was last asked for; `undefined` while nothing was. */
  get last(): PgPool | undefined {
    return this.#pool;
  }

  /** The pool, where MikroORM has made no other one since it was last asked, so that nothing is to be waited for. */
  get known(): PgPool | undefined {
    return this.#connection.getClient() === this.#kysely ? this.#pool : undefined;
  }

  /** What is known of code that hides in the database of the server. */
  get knownCode(): KnownCode {
    return this.#knownCode;
  }

  /** The Kysely instance that MikroORM compiles its queries with. */
  getKysely(): unknown {
    return this.#lastKysely ?? this.#connection.getClient();
  }

  /**
   * The pool, which is made if there is none; this connects to nothing.
   *
   * @throws {@link ConnectionFailedError}
   */
  async ask(): Promise<PgPool> {
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
      this.#parts.reset?.watch(pool);
      this.#knownCode = { names: undefined };
      if (!isPointed(this.#connection, this.#pointed)) {
        this.#server = undefined;
      }
    }
    return pool;
  }

  /** As {@link CurrentPool.ask}, without the hooks of MikroORM's first connect. */
  async askWithoutHooks(): Promise<PgPool> {
    await this.#connection.connect({ skipOnConnect: true });
    return this.ask();
  }

  /**
   * Points the connection at another server, whose pool is the next one that is asked for.
   *
   * @param own the values that are used where `address` has none
   * @throws {@link InvalidOptionsError} the options of the connection fix its host
   */
  goTo(own: OwnServer, address: ServerAddress): void {
    this.#pointed = pointAt(this.#connection, this.#name, own, address);
    this.#server = { ...own.logIn, ...address };
  }

  /** Points the connection at no server, for good: the pool has no successor. */
  goNowhere(refusal: () => Error): void {
    // Transactions that are still open compile with it.
    this.#lastKysely = this.getKysely();
    pointAtNothing(this.#connection, refusal);
  }

  /** Serves the callers of the pool as if the library were absent. */
  forgetCallers(): void {
    this.#forgetCallers?.();
    this.#forgetCallers = undefined;
  }

  #knowCallers(pool: PgPool): void {
    this.#forgetCallers?.();
    this.#forgetCallers = claimPast(pool, {
      connectionName: this.#name,
      deadlockTimeoutMs: this.#deadlockTimeoutMs,
      holderHere: this.#parts.holderHere,
    });
  }
}
