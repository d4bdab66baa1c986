import type { EntityManager } from '@mikro-orm/core';

import type { DbConnection } from '../connection/db-connection.js';
import {
  DuplicateConnectionError,
  InvalidOptionsError,
  UnknownConnectionError,
} from '../errors.js';
import { SessionFactory } from '../session/session-factory.js';

/** The connections of one application, with what makes their sessions and what stands for those. */
export class ConnectionRegistry {
  readonly #factories = new Map<string, SessionFactory>();
  readonly #handles = new Map<string, EntityManager>();
  readonly #resolve: (factory: SessionFactory) => EntityManager;
  #readYourWrites: readonly DbConnection[] = [];

  /** @param resolve finds the session that the calling code means */
  constructor(resolve: (factory: SessionFactory) => EntityManager) {
    this.#resolve = resolve;
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
    this.#handles.set(
      name,
      factory.createHandle(() => this.#resolve(factory)),
    );
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

  /** @throws {@link UnknownConnectionError} */
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
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) {
      throw failed.reason;
    }
  }
}
