import { EntityManager } from '@mikro-orm/core';

import type { DbConnection } from '../connection/db-connection.js';
import { InvalidTransactionStateError } from '../errors.js';
import type { TransactionPart } from '../transaction/savepoint.js';
import { FlushCode } from './flush-code.js';
import { prepareFlushes } from './flush-turns.js';
import { forkOfClass } from './fork-of-class.js';
import { kyselyTransactionFactory, type KyselyTransaction } from './kysely-transaction.js';
import type { KyselyClient } from './kysely-shapes.js';
import type { TransactionParts } from './orm-transaction.js';
import { createSessionHandle } from './session-handle.js';
import { sessionManagerClass, type EntityManagerClass } from './session-manager.js';
import { controlOf } from './session-marks.js';
import type { SessionOptions } from './session-observer.js';
import { Session } from './session.js';

/** What is made once for all sessions of a connection. */
interface FactoryParts extends TransactionParts {
  /** MikroORM's class, or the application's own one. */
  readonly Base: EntityManagerClass;
  readonly Manager: EntityManagerClass;
  /**
   * A session that nobody uses. Where no object of a shape lives as V8 collects garbage, V8 throws the shape away, and
   * with it the code that was optimised for it, MikroORM's included.
   */
  readonly specimen: Session;
}

/** Makes the sessions of one connection, and the handle that stands for them. */
export class SessionFactory {
  readonly connection: DbConnection;
  #lazyParts: FactoryParts | undefined;

  constructor(connection: DbConnection) {
    this.connection = connection;
  }

  /** A new session. It holds no connection until its first statement (L3). */
  create(options: SessionOptions): Session {
    const parts = this.#parts;
    return new Session(parts, forkOfClass(this.connection.orm.em, parts), options);
  }

  /**
   * The session behind an entity manager; a plain fork becomes one.
   *
   * @throws {@link InvalidTransactionStateError} it is no fork, or in a transaction of its own
   */
  from(manager: EntityManager, options: SessionOptions): Session {
    const control = controlOf(manager);
    if (control instanceof Session) {
      return control;
    }
    if (manager.global || manager.isInTransaction()) {
      throw new InvalidTransactionStateError(
        this.connection.name,
        'only a fork (orm.em.fork()) that is in no transaction can become the session.',
      );
    }
    const parts = this.#parts;
    // It was made by the application: nothing but its class can be exchanged.
    Object.setPrototypeOf(manager, parts.Manager.prototype as object);
    return new Session(parts, manager, options);
  }

  /** See {@link createSessionHandle}. */
  createHandle(resolve: () => EntityManager): EntityManager {
    return createSessionHandle(this.connection.orm, this.connection.name, resolve);
  }

  /** What MikroORM takes for the transaction that `part` is, for an entity manager that cannot end it. */
  contextOf(part: TransactionPart): KyselyTransaction {
    return this.#parts.createKysely(part, undefined);
  }

  get #parts(): FactoryParts {
    this.#lazyParts ??= this.#createParts();
    return this.#lazyParts;
  }

  #createParts(): FactoryParts {
    const { connection } = this;
    const Base = Object.getPrototypeOf(connection.orm.em).constructor as EntityManagerClass;
    const parts: TransactionParts = {
      connection,
      createKysely: kyselyTransactionFactory(() => connection.getKysely() as KyselyClient),
      // One of the application's own may do more than to write changes.
      flushCode: new FlushCode(Base.prototype.flush === EntityManager.prototype.flush),
    };
    const classes = { Base, Manager: sessionManagerClass(Base, parts) };
    const specimen = new Session(parts, forkOfClass(connection.orm.em, classes), {});
    prepareFlushes(specimen.manager.getUnitOfWork(false));
    return { ...parts, ...classes, specimen };
  }
}
