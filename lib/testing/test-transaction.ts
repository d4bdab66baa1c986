import type { EntityManager } from '@mikro-orm/core';

import type { DbConnection } from '../connection/db-connection.js';
import { LONGEST_LIMIT_MS } from '../connection/time-limit.js';
import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import { UnknownConnectionError } from '../errors.js';
import type { KyselyTransaction } from '../session/kysely-transaction.js';
import type { SessionFactory } from '../session/session-factory.js';
import type { TransactionOwner, TransactionSource } from '../transaction/begin-plan.js';
import { Transaction } from '../transaction/transaction.js';
import { SharedTransaction } from './shared-transaction.js';
import { connectionsOf, registryOf, type TestTarget } from './test-target.js';
import type { DriverEntityManager } from '../session/driver-entity-manager.js';

/** Options of {@link TestTransaction.begin}. */
export interface TestTransactionOptions {
  /**
   * Names of the connections.
   * @defaultValue all of the application
   */
  readonly connections?: readonly string[];
}

/** The shared transaction of one connection, with the transaction of the test itself in it. */
interface TestPart {
  readonly shared: SharedTransaction;
  readonly connection: DbConnection;
  readonly transaction: Transaction;
  readonly context: KyselyTransaction;
}

/**
 * One transaction per connection that a test and the application share, and that is rolled back when the
 * test ends (T1). The application works as in production: its commits are seen by the test and by later
 * requests, and its rollbacks undo what they would undo there; but nothing is really committed. It works
 * across HTTP requests, since it is the connection that is shared, not a context.
 *
 * @example
 * ```ts
 * let db: TestTransaction;
 * beforeEach(async () => {
 *   db = await TestTransaction.begin(app);
 * });
 * afterEach(() => db.end());
 * ```
 * @publicApi
 */
export class TestTransaction {
  readonly #parts: ReadonlyMap<string, TestPart>;

  private constructor(parts: ReadonlyMap<string, TestPart>) {
    this.#parts = parts;
  }

  /**
   * Begins the transactions. One connection of each pool is held until {@link TestTransaction.end}.
   *
   * @param app the application, initialised or not
   * @throws {@link UnknownConnectionError}, {@link ConnectionFailedError}
   * @throws {@link TestIsolationError} another one has begun on a connection and not ended
   */
  static async begin(
    app: TestTarget,
    { connections }: TestTransactionOptions = {},
  ): Promise<TestTransaction> {
    const registry = registryOf(app);
    const parts = new Map<string, TestPart>();
    const transaction = new TestTransaction(parts);
    try {
      for (const connection of connectionsOf(app, connections)) {
        parts.set(connection.name, await beginPart(registry.connections.factory(connection.name)));
      }
    } catch (error) {
      await transaction.end();
      throw error;
    }
    return transaction;
  }

  /**
   * A session in the test's own transaction, to prepare data and to look at it. Each call makes a new one,
   * so that it shows the rows of the database rather than entities that were loaded before. It cannot
   * commit or roll back; after its `flush()` the application sees what it wrote.
   *
   * @param name name of the connection
   * @typeParam E the driver's EntityManager
   * @throws {@link UnknownConnectionError} the test transaction does not include that connection
   */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows its driver
  session<E extends EntityManager = DriverEntityManager>(
    name: string = DEFAULT_CONNECTION_NAME,
  ): E {
    const { connection, context } = this.#part(name);
    const session = connection.orm.em.fork({ disableContextResolution: true });
    session.setTransactionContext(context);
    return session as E;
  }

  /** Number of transactions that the application has open now. */
  get openTransactions(): number {
    return [...this.#parts.values()].reduce((sum, { shared }) => sum + shared.openTransactions, 0);
  }

  /**
   * Rolls back everything that was done since the beginning, on all connections.
   *
   * @throws {@link TestIsolationError} the application still has a transaction open; everything is
   *   rolled back all the same
   */
  async end(): Promise<void> {
    const errors: unknown[] = [];
    for (const { shared, transaction } of this.#parts.values()) {
      await shared.end().catch((error: unknown) => errors.push(error));
      await transaction.rollback();
    }
    if (errors.length > 0) {
      throw errors[0];
    }
  }

  #part(name: string): TestPart {
    const part = this.#parts.get(name);
    if (part === undefined) {
      throw new UnknownConnectionError(name, [...this.#parts.keys()]);
    }
    return part;
  }
}

async function beginPart(factory: SessionFactory): Promise<TestPart> {
  const { connection } = factory;
  const shared = await SharedTransaction.begin(connection);
  const { name, server, limits } = connection;
  const source: TransactionSource = {
    name,
    server,
    // A test under a debugger may take any time.
    limits: { ...limits, transactionTimeoutMs: LONGEST_LIMIT_MS },
    transactionOptions: {},
    knownCode: { names: undefined },
    checkOut: (claim) => connection.checkOut(claim),
    onFailure: () => undefined,
    onStatement: (sql, tookMs) => connection.onStatement(sql, tookMs),
    report: connection.report,
  };
  // This transaction belongs to no session of the application, so it has none of the variables, the role
  // or the hooks of one.
  const statements = [{ sql: 'begin', values: [] }];
  const owner: TransactionOwner = {
    holder: shared.testHolder,
    watch: undefined,
    plan: (settings) => ({ settings, statements, before: undefined, after: undefined }),
    planMisused: () => shared.refusal('its begin is under way.'),
    mayReadAhead: () => false,
    planOfRead: () => Promise.resolve(statements),
    announce: () => undefined,
  };
  const transaction = new Transaction(source, owner, {});
  try {
    await transaction.begin({});
  } catch (error) {
    await shared.end();
    throw error;
  }
  return { shared, connection, transaction, context: factory.contextOf(transaction) };
}
