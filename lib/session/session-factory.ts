import type { EntityManager } from '@mikro-orm/core';

import type { DbConnection } from '../connection/db-connection.js';
import type { KyselyClient } from './kysely-shapes.js';
import { createSessionHandle } from './session-handle.js';
import { controlOf, sessionManagerClass, type EntityManagerClass } from './session-manager.js';
import { Session, type SessionOptions, type SessionParts } from './session.js';
import type { TransactionScope } from './scope.js';
import {
  autocommitContextFactory,
  scopeContextFactory,
  type ScopeContext,
} from './transaction-context.js';

/** Makes the sessions of one connection, and the handle that stands for them. */
export class SessionFactory {
  readonly connection: DbConnection;
  #parts: SessionParts | undefined;

  constructor(connection: DbConnection) {
    this.connection = connection;
  }

  /** A new session. It holds no connection until its first statement. */
  create(options: Omit<SessionOptions, 'manager'>): Session {
    this.#parts ??= this.#createParts();
    return new Session(this.#parts, options);
  }

  /**
   * The session behind an entity manager; a plain fork becomes one.
   *
   * @throws {@link InvalidTransactionStateError} the fork is in a transaction of its own
   */
  from(manager: EntityManager, options: Omit<SessionOptions, 'manager'>): Session {
    this.#parts ??= this.#createParts();
    const control = controlOf(manager);
    return control instanceof Session ? control : new Session(this.#parts, { ...options, manager });
  }

  /** See {@link createSessionHandle}. */
  createHandle(resolve: () => EntityManager): EntityManager {
    return createSessionHandle(this.connection.orm, this.connection.name, resolve);
  }

  /** What MikroORM takes for the transaction that `scope` is, for an entity manager that cannot end it. */
  contextOf(scope: TransactionScope): ScopeContext {
    this.#parts ??= this.#createParts();
    return this.#parts.createContext(scope, true);
  }

  #createParts(): SessionParts {
    const { connection } = this;
    const currentClient = (): KyselyClient => connection.getKysely() as KyselyClient;
    const createContext = scopeContextFactory(currentClient, (error) =>
      connection.orm.driver.convertException(error),
    );
    const Base = connection.orm.em.constructor as EntityManagerClass;
    return {
      connection,
      SessionManager: sessionManagerClass(
        Base,
        { connection, createContext },
        autocommitContextFactory(currentClient()),
      ),
      createContext,
    };
  }
}
