import type { MikroORM } from '@mikro-orm/core';

import { ConnectionClosedError, type ErrorPlace } from '../errors.js';
import type { KnownCode } from '../postgresql/hidden-code.js';
import type { PgClient, PgPool } from '../postgresql/pg-client.js';
import { postgresql } from '../postgresql/server.js';
import { placeOf, type Claim, type Holder } from './claim.js';
import type { ClientSource, ClientSupply } from './client-supply.js';
import type { ConnectionCheck } from './connection-check.js';
import type { CheckOptions, ConnectionHealth } from './connection-health.js';
import type { ResolvedLimits } from './connection-limits.js';
import { makeParts } from './connection-parts.js';
import type {
  ConnectionSettings,
  GlobalEntityManagerMode,
  TransactionDefaults,
} from './connection-settings.js';
import type { Failover } from './failover.js';
import type { FaultReporter } from './fault-reporter.js';
import type { HostPool } from './host-pool.js';
import type { DriverMikroORM } from './driver-mikro-orm.js';
import { sumOfPools } from './pool-sum.js';
import type { Preparation } from './preparation.js';
import type { ReadYourWritesSettings, ReplicaSet } from './replica-set.js';
import type { ReplicaState } from './replica.js';
import type { SessionReset } from './session-reset.js';
import { acquire, connectionClose } from '../telemetry/channels.js';
import type { ConnectionInfo } from '../telemetry/payloads.js';
import { tracedAcquire } from '../telemetry/acquire-trace.js';
import { ConnectionTelemetry } from './connection-telemetry.js';
import type { PoolState } from './pool-state.js';

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
  /** @internal The option `readYourWrites`; `undefined` without replicas, where it has no effect. */
  readonly readYourWrites: ReadYourWritesSettings | undefined;
  /**
   * @internal Resets what is left in the sessions of the clients of the pool that are given back. It knows
   * nothing of those that replace them, which are in one transaction that no reset may end.
   */
  readonly sessionReset: SessionReset | undefined;
  /** @internal What is done before a transaction takes its client. */
  readonly preparation: Preparation;
  readonly #ownsOrm: boolean;
  readonly #hosts: HostPool;
  readonly #replicas: ReplicaSet | undefined;
  readonly #clients: ClientSupply;
  readonly #failover: Failover | undefined;
  readonly #check: ConnectionCheck;
  #findHolder: (() => Holder | undefined) | undefined;
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(
    name: string,
    orm: MikroORM,
    settings: ConnectionSettings<DbConnection>,
    { ownsOrm, report }: { readonly ownsOrm: boolean; readonly report: FaultReporter },
  ) {
    this.name = name;
    this.orm = orm as unknown as DriverMikroORM;
    this.limits = settings.limits;
    this.transactionOptions = settings.transactionOptions;
    this.report = report;
    this.globalEntityManager = settings.globalEntityManager;
    this.#ownsOrm = ownsOrm;
    const parts = makeParts<DbConnection>(this, orm, settings);
    this.#hosts = parts.hosts;
    this.#replicas = parts.replicas;
    this.readYourWrites = parts.replicas && settings.reading.readYourWrites;
    this.sessionReset = parts.sessionReset;
    this.preparation = parts.preparation;
    this.#clients = parts.clients;
    this.#failover = parts.failover;
    this.#check = parts.check;
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
      await this.#failover?.ensurePrimary(this.holderHere);
    }
    const client = await this.#clients.takeFromPool({ holder: this.holderHere, isBusy: true });
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

  /** @internal Is called with each statement that failed. */
  onFailure(error: unknown, client: PgClient, isReadOnly: boolean): void {
    this.#failover?.onFailure(error, client, isReadOnly);
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
      ? this.#clients.take(claim)
      : tracedAcquire(origin, claim.holder, () => this.#clients.take(claim));
  }

  /** @internal Finds the unit of work that code runs in which takes a client past the sessions. */
  knowHolders(findHolder: () => Holder | undefined): void {
    this.#findHolder = findHolder;
  }

  /** @internal The unit of work that the calling code runs in. */
  get holderHere(): Holder | undefined {
    return this.#findHolder?.();
  }

  /** @internal Where an error of the calling code happens. */
  get placeHere(): ErrorPlace {
    return placeOf(this.name, this.holderHere);
  }

  /**
   * Gives sessions other clients than those of the pool, for tests.
   *
   * @returns a function that undoes this
   * @internal
   */
  replaceClients(source: ClientSource): () => void {
    return this.#clients.replace(source);
  }

  /** @internal The pool, which is made if there is none; this connects to nothing. */
  pool(): Promise<PgPool> {
    return this.#hosts.pool();
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
