import type { MikroORM } from '@mikro-orm/core';
import type { ClsService } from 'nestjs-cls';

import { ConnectionClosedError } from '../errors.js';
import type { KnownCode } from '../postgresql/hidden-code.js';
import type { PgClient, PgPool } from '../postgresql/pg-client.js';
import { postgresql } from '../postgresql/server.js';
import type { SessionVariables, TransactionSettings } from '../postgresql/transaction-settings.js';
import { BeforeSession } from './before-session.js';
import { placeOf, type Claim, type Holder } from './claim.js';
import { ConnectionCheck } from './connection-check.js';
import type { CheckOptions, ConnectionHealth } from './connection-health.js';
import type { ResolvedLimits } from './connection-limits.js';
import { Failover, type FailoverSettings } from './failover.js';
import { HostPool } from './host-pool.js';
import type { DriverMikroORM } from './driver-mikro-orm.js';
import { replicasOf } from './mikro-orm-connection.js';
import { sumOfPools } from './pool-sum.js';
import { ReplicaSet, type ReadSettings, type ReadYourWritesSettings } from './replica-set.js';
import type { ReplicaState } from './replica.js';
import { ReserveHooks } from './reserve-hooks.js';
import { SessionReset, type ResetMode } from './session-reset.js';
import { acquire, connectionClose } from '../telemetry/channels.js';
import type { ConnectionInfo } from '../telemetry/payloads.js';
import { tracedAcquire } from '../telemetry/acquire-trace.js';
import { ConnectionTelemetry } from './connection-telemetry.js';
import type { PoolState } from './pool-state.js';

/** Provides a client for a claim; `fromPool` takes one as without it. */
type ClientSource = (claim: Claim, fromPool: () => Promise<PgClient>) => Promise<PgClient>;

/** How the transactions of a connection begin: settings, and functions that compute some of them. */
export interface TransactionDefaults {
  readonly transaction?: TransactionSettings;
  readonly sessionVariables?: (cls: ClsService) => SessionVariables | Promise<SessionVariables>;
  readonly role?: string | ((cls: ClsService) => string | undefined);
}

/** What the global entity manager of a connection (`orm.em`) is inside of a context. */
export type GlobalEntityManagerMode = 'session' | 'own';

/** The options of a connection, checked and with every default filled in. */
export interface ConnectionSettings {
  readonly limits: ResolvedLimits;
  readonly transactionOptions: TransactionDefaults;
  readonly beforeSession: ((connection: DbConnection) => void | Promise<void>) | undefined;
  readonly failover: FailoverSettings | undefined;
  readonly reading: ReadSettings;
  readonly resetOnRelease: ResetMode;
  readonly globalEntityManager: GlobalEntityManagerMode;
  /** How long {@link DbConnection.check} takes at most where it is given no `timeoutMs`. */
  readonly checkTimeoutMs: number;
}

/** Is called with an error that no caller can catch. */
export type FaultReporter = (message: string, error: unknown) => void;

/**
 * One named database: a MikroORM instance with its pool. It is injected with `@InjectConnection(name?)`.
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
  /** The MikroORM instance of the connection; inside of a context its `em` is the session, unless `globalEntityManager` says otherwise. */
  readonly orm: DriverMikroORM;
  /** @internal What transactions of the connection have to know of the server. */
  readonly server = postgresql;
  /** @internal What events call it. */
  readonly telemetry: ConnectionInfo = new ConnectionTelemetry(this);
  /** @internal */
  readonly limits: ResolvedLimits;
  /** @internal */
  readonly transactionOptions: TransactionDefaults;
  /** @internal */
  readonly report: FaultReporter;
  /** @internal The option of that name. */
  readonly globalEntityManager: GlobalEntityManagerMode;
  readonly #ownsOrm: boolean;
  readonly #reserveHooks: ReserveHooks;
  readonly #sessionReset: SessionReset | undefined;
  readonly #hosts: HostPool;
  readonly #check: ConnectionCheck;
  readonly #replicas: ReplicaSet | undefined;
  /** @internal The option `readYourWrites`; `undefined` without replicas, where it has no effect. */
  readonly readYourWrites: ReadYourWritesSettings | undefined;
  readonly #beforeSession: BeforeSession | undefined;
  readonly #failover: Failover | undefined;
  #clientSource: ClientSource | undefined;
  #holderHere: (() => Holder | undefined) | undefined;
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(
    name: string,
    orm: MikroORM,
    settings: ConnectionSettings,
    { ownsOrm, report }: { readonly ownsOrm: boolean; readonly report: FaultReporter },
  ) {
    const { limits, transactionOptions, beforeSession, failover, reading } = settings;
    this.name = name;
    this.orm = orm as unknown as DriverMikroORM;
    this.limits = limits;
    this.transactionOptions = transactionOptions;
    this.report = report;
    this.globalEntityManager = settings.globalEntityManager;
    this.#ownsOrm = ownsOrm;
    this.#reserveHooks = new ReserveHooks(orm);
    const { resetOnRelease } = settings;
    const reset =
      resetOnRelease === 'never'
        ? undefined
        : new SessionReset({
            mode: resetOnRelease,
            connectionName: name,
            limitMs: limits.endTimeoutMs,
            setUp: (client) => this.#reserveHooks.setUp(client),
            report,
            onStatement: (sql, tookMs) => this.onStatement(sql, tookMs),
          });
    this.#sessionReset = reset;
    const holderHere = (): Holder | undefined => this.#holderHere?.();
    this.#hosts = new HostPool(orm.driver.getConnection('write'), name, limits, {
      reset,
      holderHere,
      telemetry: this.telemetry,
    });
    const replicas = replicasOf(orm);
    if (replicas.length > 0) {
      const dependencies = {
        connectionName: name,
        telemetry: this.telemetry,
        limits,
        hooks: this.#reserveHooks,
        reset,
        report,
        holderHere,
      };
      this.#replicas = new ReplicaSet(replicas, reading, dependencies);
      this.readYourWrites = reading.readYourWrites;
    }
    this.#check = new ConnectionCheck({
      name,
      hosts: this.#hosts,
      replicas: this.#replicas?.pools ?? [],
      isClosed: () => this.isClosed,
      defaultTimeoutMs: settings.checkTimeoutMs,
    });
    this.#beforeSession =
      beforeSession && new BeforeSession(() => beforeSession(this), name, limits.acquireTimeoutMs);
    this.#failover = failover && new Failover(this.#hosts, this.telemetry, failover);
  }

  /** Whether `close()` was called. */
  get isClosed(): boolean {
    return this.#closing !== undefined;
  }

  /**
   * Counters of the pool, or `undefined` while nothing has been asked of the database yet. With
   * replicas, the sums of all its pools; {@link DbConnection.replicaStates} has those of each.
   */
  poolState(): PoolState | undefined {
    return this.#replicas === undefined
      ? this.#hosts.state
      : sumOfPools([this.#hosts.state, ...this.#replicas.states.map(({ pool }) => pool)]);
  }

  /** The states of the replicas, in the order of the options. */
  replicaStates(): readonly ReplicaState[] {
    return this.#replicas?.states ?? [];
  }

  /** @internal Largest number of connections. Makes the pool if there is none; connects to nothing. */
  async poolSize(): Promise<number> {
    const { options } = await this.#hosts.pool();
    return options.max;
  }

  /** @internal Name of the database that new sessions go to. */
  get database(): string | undefined {
    return this.#hosts.database;
  }

  /** Host and port that new sessions go to, `db1:5432`. */
  get host(): string {
    return this.#hosts.host;
  }

  /**
   * Opens a connection now, rather than with the first statement, and gives it back to the pool. With
   * `failover` it is a connection to the primary, unless `host` is given.
   *
   * @param host the host to change to before; see {@link DbConnection.changeHost}
   * @throws {@link ConnectionFailedError} the server cannot be reached, or refuses the connection
   * @throws {@link AcquireTimeoutError} all connections are in use, and none became free in time
   * @throws {@link ConnectionClosedError}, {@link InvalidOptionsError}
   */
  async connect(host?: string): Promise<void> {
    if (host !== undefined) {
      await this.changeHost(host);
    }
    if (this.isClosed) {
      throw new ConnectionClosedError(this.name);
    }
    if (host === undefined) {
      await this.#failover?.ensurePrimary();
    }
    const client = await this.#takeFromPool({ holder: undefined, isBusy: true });
    client.release();
  }

  /**
   * Makes all new transactions go to another server, also those of sessions that exist already.
   * Transactions that have begun finish on the old server, within `hostDrainTimeoutMs`; its pool is then
   * closed. This does not wait for that, and does not connect: see {@link DbConnection.connect}.
   *
   * @param host `host`, `host:port`, `[ipv6]:port` or a URL `postgres://user:password@host:port/db`; the
   *   parts that are missing stay as in the options of the connection
   * @throws {@link InvalidOptionsError} `host` is empty, or has none of these forms
   * @throws {@link ConnectionClosedError} `close()` was called
   *
   * @example
   * ```ts
   * await connection.changeHost('db2:5432');
   * ```
   */
  async changeHost(host: string): Promise<void> {
    await this.#hosts.changeTo(host);
    this.#failover?.forgetTimeline();
  }

  /**
   * Checks whether the server, and each read replica, can be reached.
   *
   * It asks on connections of its own, made as the pool makes them and closed again, and takes none from
   * the pool: a pool whose connections are all in use is one result (`pool`), a server that cannot be
   * reached another. So a check takes no slot of the pool, and never waits in its queue. Callers that ask
   * while the same check is under way get its result, so that there is one such connection at a time.
   *
   * @returns the health of the connection; an unreachable server is a result, not an error
   * @throws {@link InvalidOptionsError} `timeoutMs` is not a number of milliseconds
   *
   * @example
   * ```ts
   * const { isReachable, pool, error } = await connection.check({ timeoutMs: 500 });
   * ```
   */
  async check(options: CheckOptions = {}): Promise<ConnectionHealth> {
    return this.#check.run(options);
  }

  /** @internal Calls the hook `beforeSession`, if there is one, then finds the primary (H2). */
  beforeSession(): Promise<void> | undefined {
    const called = this.#beforeSession?.run();
    // Clients that replace those of the pool belong to one server, so a change of hosts has no effect.
    const failover = this.#clientSource === undefined ? this.#failover : undefined;
    return called === undefined
      ? failover?.ensurePrimary()
      : called.then(() => failover?.ensurePrimary());
  }

  /** @internal Whether `beforeSession()` may run code of the application. */
  get asksBeforeSession(): boolean {
    return this.#beforeSession !== undefined || this.#failover !== undefined;
  }

  /** @internal Is called with each statement that failed. */
  onFailure(error: unknown, client: PgClient, isReadOnly: boolean): void {
    this.#failover?.onFailure(error, client, isReadOnly);
  }

  /** @internal The error for `beforeSession` if it is running and uses a session of this connection. */
  get beforeSessionMisused(): Error | undefined {
    return this.#beforeSession?.isRunning === true ? this.#beforeSession.misused() : undefined;
  }

  /**
   * Closes the pool once all its connections are back, for which it waits up to `drainTimeoutMs`. Then
   * every connection that is still in use is cut, also one that code past the sessions has taken: the
   * global entity manager of `orm`, or `pg`. Pools of replicas and of former hosts have the same limit.
   *
   * From the call on, what asks for a connection gets {@link ConnectionClosedError}: sessions at their first
   * statement, {@link DbConnection.connect}, and `orm` itself once its pool is closed. A MikroORM instance
   * that the application handed over stays open, for itself alone. A further call waits for the first.
   */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    let ormClosed: Promise<void> | undefined;
    // MikroORM waits for one pool after the other, and each of them has its own limit meanwhile.
    const closeOrm = (): Promise<void> => (ormClosed ??= this.orm.close(true));
    try {
      await Promise.all([
        this.#hosts.close(this.#ownsOrm, closeOrm),
        this.#replicas?.close(this.#ownsOrm, closeOrm),
      ]);
    } finally {
      if (connectionClose.hasSubscribers) {
        connectionClose.publish({ connection: this.telemetry });
      }
    }
  }

  /**
   * Takes a client from the pool, or from the pool of a replica.
   *
   * @throws {@link AcquireTimeoutError}, {@link PoolDeadlockError}, {@link ConnectionFailedError},
   *   {@link ReplicasUnavailableError}, {@link ConnectionClosedError}
   * @internal
   */
  checkOut(claim: Claim): Promise<PgClient> {
    const origin = acquire.hasSubscribers ? claim.source?.telemetry : undefined;
    return origin === undefined
      ? this.#checkOut(claim)
      : tracedAcquire(origin, claim.holder, () => this.#checkOut(claim));
  }

  #checkOut(claim: Claim): Promise<PgClient> {
    if (this.isClosed) {
      return Promise.reject(new ConnectionClosedError(placeOf(this.name, claim.holder)));
    }
    return this.#clientSource === undefined
      ? this.#take(claim)
      : this.#clientSource(claim, () => this.#take(claim));
  }

  #take(claim: Claim): Promise<PgClient> {
    return this.#replicas === undefined || claim.mayReadReplica !== true
      ? this.#takeFromPool(claim)
      : this.#takeToRead(this.#replicas, claim);
  }

  /** @internal Finds the unit of work that code runs in which takes a client past the sessions. */
  knowHolders(holderHere: () => Holder | undefined): void {
    this.#holderHere = holderHere;
  }

  /**
   * Gives sessions other clients than those of the pool, for tests.
   *
   * @returns a function that undoes this
   * @internal
   */
  replaceClients(source: ClientSource): () => void {
    this.#clientSource = source;
    return () => {
      this.#clientSource = undefined;
    };
  }

  /**
   * @internal Resets what is left in the sessions of the clients of the pool that are given back. It knows
   * nothing of those that replace them, which are in one transaction that no reset may end.
   */
  get sessionReset(): SessionReset | undefined {
    return this.#sessionReset;
  }

  /** @internal The pool, which is made if there is none; this connects to nothing. */
  pool(): Promise<PgPool> {
    return this.#hosts.pool();
  }

  async #takeToRead(replicas: ReplicaSet, claim: Claim): Promise<PgClient> {
    return (await replicas.take(claim)) ?? this.#takeFromPool(claim);
  }

  #takeFromPool(claim: Claim): Promise<PgClient> {
    const taken = this.#hosts.take(claim);
    const watched = this.#failover?.watch(taken) ?? taken;
    return this.#reserveHooks.areSet ? this.#runHooks(watched) : watched;
  }

  async #runHooks(taken: Promise<PgClient>): Promise<PgClient> {
    const client = await taken;
    const state = this.#sessionReset?.stateOf(client);
    await this.#reserveHooks.run(client, this.name, this.limits.acquireTimeoutMs, state);
    return client;
  }

  /** @internal What is known of code that hides in the database of the current server. */
  get knownCode(): KnownCode {
    return this.#hosts.knownCode;
  }

  /** @internal The Kysely instance that MikroORM compiles its queries with. */
  getKysely(): unknown {
    return this.#hosts.getKysely();
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
}
