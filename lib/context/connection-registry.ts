import { inspect } from 'node:util';

import type { EntityManager, MikroORM } from '@mikro-orm/core';

import type { Holder } from '../connection/claim.js';
import type { DbConnection } from '../connection/db-connection.js';
import {
  DuplicateConnectionError,
  InvalidOptionsError,
  UnknownConnectionError,
} from '../errors.js';
import { claimGlobalManager, type GlobalClaim } from '../session/global-manager.js';
import { SessionFactory } from '../session/session-factory.js';

/** @throws {@link InvalidOptionsError} it is an object, as other methods take it */
function assertIsName(name: unknown): void {
  if (typeof name !== 'string') {
    const { connection = 'default' } = (name ?? {}) as { readonly connection?: unknown };
    throw new InvalidOptionsError(
      `${inspect(name)} was given for the name of a connection. Give the name itself: ${inspect(connection)}.`,
    );
  }
}

/** The connections of one application, with what makes their sessions and what stands for those. */
export class ConnectionRegistry {
  readonly #factories = new Map<string, SessionFactory>();
  readonly #handles = new Map<string, EntityManager>();
  readonly #resolve: (factory: SessionFactory) => EntityManager;
  readonly #claimOf: (factory: SessionFactory) => GlobalClaim;
  /** What takes back that the global entity manager of an orm is a session. */
  readonly #globals = new Map<MikroORM, () => void>();
  /** Those of these connections, by the names that MikroORM knows their managers by. */
  readonly #named = new Map<string, DbConnection>();
  readonly #watch: (connection: DbConnection) => (() => void) | undefined;
  readonly #holderHere: () => Holder | undefined;
  /** What ends the watches of the connections. */
  #unwatch: readonly (() => void)[] = [];
  #readYourWrites: readonly DbConnection[] = [];

  /**
   * @param resolve finds the session that the calling code means
   * @param claimOf what the global entity manager of a connection stands for
   * @param holderHere finds the context that the calling code runs in
   * @param watch begins to watch a connection, and returns what ends that, if it is to be watched at all
   */
  constructor(
    resolve: (factory: SessionFactory) => EntityManager,
    claimOf: (factory: SessionFactory) => GlobalClaim,
    watch: (connection: DbConnection) => (() => void) | undefined,
    holderHere: () => Holder | undefined,
  ) {
    this.#resolve = resolve;
    this.#claimOf = claimOf;
    this.#watch = watch;
    this.#holderHere = holderHere;
  }

  get all(): readonly DbConnection[] {
    return [...this.#factories.values()].map((factory) => factory.connection);
  }

  /** The connections whose clients read what they wrote. */
  get readYourWrites(): readonly DbConnection[] {
    return this.#readYourWrites;
  }

  /** @throws {@link DuplicateConnectionError}, {@link InvalidOptionsError} */
  register(connection: DbConnection): void {
    const { name } = connection;
    if (this.#factories.has(name)) {
      throw new DuplicateConnectionError(name);
    }
    this.#assertDistinctReadYourWrites(connection);
    const factory = new SessionFactory(connection);
    this.#factories.set(name, factory);
    if (connection.readYourWrites !== undefined) {
      this.#readYourWrites = [...this.#readYourWrites, connection];
    }
    const handle = factory.createHandle(() => this.#resolve(factory));
    this.#handles.set(name, handle);
    connection.knowHolders(this.#holderHere);
    const unwatch = this.#watch(connection);
    if (unwatch !== undefined) {
      this.#unwatch = [...this.#unwatch, unwatch];
    }
    // Of connections that share an orm the first one is its global entity manager.
    if (connection.globalEntityManager === 'session' && !this.#globals.has(connection.orm)) {
      this.#globals.set(connection.orm, claimGlobalManager(connection.orm, this.#claimOf(factory)));
      if (!this.#named.has(handle.name)) {
        this.#named.set(handle.name, connection);
      }
    }
  }

  /** Whether the global entity manager of any connection is its session. */
  get hasGlobals(): boolean {
    return this.#globals.size > 0;
  }

  /** The connection whose global entity manager MikroORM knows by `contextName`. */
  named(contextName: string): DbConnection | undefined {
    return this.#named.get(contextName);
  }

  /** @throws {@link InvalidOptionsError} each would overwrite what the other sends to the client */
  #assertDistinctReadYourWrites({ name, readYourWrites: own }: DbConnection): void {
    const other = this.#readYourWrites.find(
      ({ readYourWrites }) =>
        own !== undefined &&
        readYourWrites?.via === own.via &&
        readYourWrites.name.toLowerCase() === own.name.toLowerCase(),
    );
    if (other !== undefined) {
      throw new InvalidOptionsError(
        `The connections "${other.name}" and "${name}" both have readYourWrites with the ${own?.via} ` +
          `"${own?.name}". Give each a name of its own, or leave the name out.`,
      );
    }
  }

  /** @throws {@link UnknownConnectionError}, {@link InvalidOptionsError} it is no name */
  factory(name: string): SessionFactory {
    return this.#known(this.#factories, name);
  }

  /**
   * What stands for the session of a connection, in any context that it is used in.
   *
   * @throws {@link UnknownConnectionError}
   */
  handle(name: string): EntityManager {
    return this.#known(this.#handles, name);
  }

  #known<T>(map: ReadonlyMap<string, T>, name: string): T {
    const found = map.get(name);
    if (found === undefined) {
      assertIsName(name);
      throw new UnknownConnectionError(name, [...this.#factories.keys()]);
    }
    return found;
  }

  /** Half of the smallest pool: how much of it one request may take without asking. */
  async fairShare(): Promise<number> {
    const sizes = await Promise.all(this.all.map((connection) => connection.poolSize()));
    return Math.max(1, Math.floor(Math.min(...sizes) / 2));
  }

  /**
   * Closes all connections, also where another one fails.
   *
   * @throws the first error, after all have been attempted
   */
  async close(): Promise<void> {
    const results = await Promise.allSettled(this.all.map((connection) => connection.close()));
    this.#globals.forEach((release) => release());
    this.#globals.clear();
    this.#unwatch.forEach((unwatch) => unwatch());
    this.#unwatch = [];
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) {
      throw failed.reason;
    }
  }
}
