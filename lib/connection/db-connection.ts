import type { MikroORM } from '@mikro-orm/core';

import type { ConnectionTransactionOptions } from '../db-context.options.js';
import { ConnectionFailedError, InvalidOptionsError } from '../errors.js';
import { checkOut, poolState, type PoolState } from './checkout.js';
import type { PgClient, PgPool } from './pg-client.js';
import type { Claim } from './pool-claims.js';
import { ReserveHooks } from './reserve-hooks.js';
import { withinLimit } from './time-limit.js';

/** The limits of a connection, with every default filled in. */
export interface ResolvedLimits {
  readonly acquireTimeoutMs: number;
  readonly deadlockTimeoutMs: number;
  readonly transactionTimeoutMs: number;
  readonly drainTimeoutMs: number;
  readonly endTimeoutMs: number;
  readonly savepointTimeoutMs: number;
}

/** What the SQL connection of MikroORM offers and its base type does not mention. */
interface SqlConnection {
  getNativeClient(): Promise<unknown>;
  getClient(): unknown;
}

/** Gives a client for a claim. */
type ClientSource = (claim: Claim) => Promise<PgClient>;

/** Where a fault goes that has no caller to be thrown at. */
export type FaultReporter = (message: string, error: unknown) => void;

/**
 * One named database: a MikroORM with its pool. Injected with `@InjectConnection(name?)`.
 *
 * @example
 * ```ts
 * constructor(@InjectConnection('audit') private readonly audit: DbConnection) {}
 *
 * poolInUse() {
 *   return this.audit.poolState()?.checkedOut ?? 0;
 * }
 * ```
 *
 * @publicApi
 */
export class DbConnection {
  /** Name of the connection. */
  readonly name: string;
  /** The MikroORM behind it; its `em` is the global one, not a session. */
  readonly orm: MikroORM;
  /** @internal */
  readonly limits: ResolvedLimits;
  /** @internal */
  readonly transactionOptions: ConnectionTransactionOptions;
  /** @internal */
  readonly report: FaultReporter;
  readonly #ownsOrm: boolean;
  readonly #reserveHooks: ReserveHooks;
  #pool: PgPool | undefined;
  readonly #observers = new Set<(sql: string) => void>();
  #clientSource: ClientSource | undefined;
  #isClosed = false;

  /** @internal */
  constructor(
    name: string,
    orm: MikroORM,
    limits: ResolvedLimits,
    transactionOptions: ConnectionTransactionOptions,
    ownsOrm: boolean,
    report: FaultReporter,
  ) {
    this.name = name;
    this.orm = orm;
    this.limits = limits;
    this.transactionOptions = transactionOptions;
    this.report = report;
    this.#ownsOrm = ownsOrm;
    this.#reserveHooks = new ReserveHooks(orm);
  }

  /** Whether `close()` was called. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Counters of the pool, or `undefined` while nothing has been asked of the database yet. */
  poolState(): PoolState | undefined {
    return this.#pool === undefined ? undefined : poolState(this.#pool);
  }

  /** @internal Largest number of connections. Makes the pool where there is none, and connects nothing. */
  async poolSize(): Promise<number> {
    const { options } = this.#pool ?? (await this.#currentPool());
    return options.max;
  }

  /**
   * Closes the pool once all its connections are back, for which it waits up to `drainTimeoutMs`.
   * An `orm` that was handed over stays open: it belongs to the application.
   */
  async close(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      if (this.#ownsOrm) {
        await this.orm.close(true);
        // MikroORM ends the pool only when it has used it itself.
        if (this.#pool?.ending === false) {
          await withinLimit(this.#pool.end(), this.limits.drainTimeoutMs);
        }
      }
    }
  }

  /**
   * Takes a client from the pool.
   *
   * @throws {@link AcquireTimeoutError}, {@link PoolDeadlockError}, {@link ConnectionFailedError}
   * @internal
   */
  checkOut(claim: Claim): Promise<PgClient> {
    return this.#clientSource?.(claim) ?? this.#takeFromPool(claim);
  }

  /**
   * Gives sessions clients of another making than the pool's, for tests.
   *
   * @returns gives them those of the pool again
   * @internal
   */
  replaceClients(source: ClientSource): () => void {
    this.#clientSource = source;
    return () => {
      this.#clientSource = undefined;
    };
  }

  /** @internal The pool; made where there is none, and connects nothing by itself. */
  async pool(): Promise<PgPool> {
    this.#pool = await this.#currentPool();
    return this.#pool;
  }

  async #takeFromPool(claim: Claim): Promise<PgClient> {
    const client = await checkOut(await this.pool(), this.name, this.limits, claim);
    await this.#reserveHooks.run(client, this.name, this.limits.acquireTimeoutMs);
    return client;
  }

  /** @internal The Kysely instance that MikroORM compiles its queries with. */
  getKysely(): unknown {
    return this.#sqlConnection().getClient();
  }

  /** @internal Told of each statement that a session sends. */
  onSend(sql: string): void {
    if (this.#observers.size > 0) {
      this.#observers.forEach((observe) => observe(sql));
    }
  }

  /**
   * Tells `observe` of each statement that a session sends, for tests.
   *
   * @returns stops that
   * @internal
   */
  observeStatements(observe: (sql: string) => void): () => void {
    this.#observers.add(observe);
    return () => void this.#observers.delete(observe);
  }

  /** @internal Puts a statement that MikroORM did not send itself into its query log. */
  onStatement(query: string, took: number): void {
    this.orm.config.getLogger().logQuery({
      level: 'info',
      connection: { type: 'write', name: this.name },
      query,
      took,
    });
  }

  /** Asked each time: MikroORM makes a new pool when it reconnects. */
  async #currentPool(): Promise<PgPool> {
    try {
      return (await this.#sqlConnection().getNativeClient()) as PgPool;
    } catch (error) {
      throw new ConnectionFailedError(this.name, error);
    }
  }

  #sqlConnection(): SqlConnection {
    return this.orm.driver.getConnection('write') as unknown as SqlConnection;
  }
}

/** @throws {@link InvalidOptionsError} the instance cannot carry lazy sessions */
export function assertSupported(name: string, orm: MikroORM): void {
  const mend = `Use the driver of "@mikro-orm/postgresql": connections: [defineConfig({ clientUrl, entities })].`;
  if (!orm.driver.getDependencies().includes('pg')) {
    throw new InvalidOptionsError(
      `The connection "${name}" uses ${orm.driver.constructor.name}; only PostgreSQL is supported. ${mend}`,
    );
  }
  if (orm.config.get('sessionContext') === 'connection') {
    throw new InvalidOptionsError(
      `The connection "${name}" has sessionContext: 'connection', which sets the variables of row-level ` +
        "security on pooled connections. Use sessionContext: 'transaction', which a session sets with its BEGIN.",
    );
  }
  const driverOptions: unknown = orm.config.get('driverOptions');
  if (
    driverOptions !== null &&
    typeof driverOptions === 'object' &&
    ('createDriver' in driverOptions || 'getExecutor' in driverOptions)
  ) {
    throw new InvalidOptionsError(
      `The connection "${name}" has a ready-made Kysely in driverOptions, whose pool cannot be reached. ` +
        `Give the options of the pool instead (driverOptions: { ... }). ${mend}`,
    );
  }
}
