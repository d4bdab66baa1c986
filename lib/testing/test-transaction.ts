import type { EntityManager } from '@mikro-orm/core';

import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import { InvalidOptionsError, UnknownConnectionError } from '../errors.js';
import { keepRows, type KeptRows } from './kept-rows.js';
import { SharedTransaction } from './shared-transaction.js';
import {
  checkTestConnections,
  testConnectionsOf,
  type TestTransactionOptions,
} from './test-connections.js';
import type { TestOwner } from './test-owner.js';
import { TestIsolationError } from './errors.js';
import { graceFromNow } from './test-layers.js';
import { partOf, type TestPart } from './test-part.js';
import { TestRouting } from './test-routing.js';
import { TestRun, type TestRunOptions } from './test-run.js';
import { registryOf, type TestTarget } from './test-target.js';
import type { RefusedWork } from './outside-test-error.js';
import { refusingLeftOut } from './test-watch.js';
import type { DriverEntityManager } from '../session/driver-entity-manager.js';

/** How the kit itself begins. */
interface OwnedBegin {
  /** Gives it up. */
  readonly signal?: AbortSignal | undefined;
  /** Is called with work that was refused on a connection that is left out. */
  readonly note?: ((refused: RefusedWork) => void) | undefined;
}

/**
 * One transaction per connection that a test and the application share, and that is rolled back when the
 * test ends. The application works as in production: its commits are seen by the test and by later
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
  readonly #stopWatching: readonly (() => void)[];
  /** Names of the connections of the application. */
  #declared: readonly string[] = [];
  #run: TestRun | undefined;
  #ending: Promise<void> | undefined;

  private constructor(parts: ReadonlyMap<string, TestPart>, stopWatching: readonly (() => void)[]) {
    this.#parts = parts;
    this.#stopWatching = stopWatching;
  }

  /**
   * Begins the transactions. One connection of each pool is held until {@link TestTransaction.end}.
   *
   * @param app the application, initialised or not
   * @throws {@link UnknownConnectionError}, {@link ConnectionFailedError}, {@link InvalidOptionsError}
   * @throws {@link TestIsolationError} another one has begun on a connection and not ended
   */
  static async begin(
    app: TestTarget,
    options: TestTransactionOptions = {},
  ): Promise<TestTransaction> {
    const transaction = await TestTransaction.beginOwned(app, options, undefined);
    transaction.ownContexts(app);
    return transaction;
  }

  /**
   * @internal
   * @param owner the test that it is for; `undefined` where all work belongs to the one that runs
   */
  static async beginOwned(
    app: TestTarget,
    options: TestTransactionOptions,
    owner: TestOwner | undefined,
    { signal, note }: OwnedBegin = {},
  ): Promise<TestTransaction> {
    checkTestConnections(options);
    const { connections: all } = registryOf(app);
    const { shared: toShare, leftOut } = testConnectionsOf(app, options);
    const watched = (owner === undefined ? leftOut : []).map((connection) =>
      TestRouting.of(connection).watch(refusingLeftOut(connection, note)),
    );
    const begun = toShare.map(async (connection) => {
      const shared = await SharedTransaction.begin(connection, owner, signal);
      return partOf(shared, shared.layer, all.factory(connection.name));
    });
    const transaction = await TestTransaction.#of(begun, watched);
    transaction.#declared = all.all.map(({ name }) => name);
    return transaction;
  }

  /**
   * Begins one inside of this one, which is to be ended first: a savepoint.
   *
   * @throws {@link TestIsolationError} the application still has a transaction open
   * @internal
   */
  async nested(): Promise<TestTransaction> {
    const begun = [...this.#parts.values()].map(async ({ shared, factory }) =>
      partOf(shared, await shared.enter(), factory),
    );
    const transaction = await TestTransaction.#of(begun);
    transaction.#declared = this.#declared;
    return transaction;
  }

  /** Waits for all parts, and ends those that have begun where one could not. */
  static async #of(
    begun: readonly Promise<TestPart>[],
    watched: readonly Promise<() => void>[] = [],
  ): Promise<TestTransaction> {
    const [parts, stops] = await Promise.all([
      Promise.allSettled(begun),
      Promise.allSettled(watched),
    ]);
    const transaction = new TestTransaction(
      new Map(fulfilled(parts).map((part) => [part.factory.connection.name, part])),
      fulfilled(stops),
    );
    const failed = [...parts, ...stops].find((each) => each.status === 'rejected');
    if (failed !== undefined) {
      await transaction.end();
      throw failed.reason;
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
   * @throws {@link UnknownConnectionError} the application has no connection of that name
   * @throws {@link InvalidOptionsError} the test does not share that connection
   */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows its driver
  session<E extends EntityManager = DriverEntityManager>(
    name: string = DEFAULT_CONNECTION_NAME,
  ): E {
    const { factory, context } = this.#part(name);
    const session = factory.connection.orm.em.fork({ disableContextResolution: true });
    session.setTransactionContext(context);
    return session as EntityManager as E;
  }

  /** @internal From now on the contexts that are opened belong to this test, and to no later one. */
  ownContexts(app: TestTarget, options: TestRunOptions = {}): void {
    this.#run = new TestRun(registryOf(app), options);
  }

  /** @internal Names of the connections that it includes. */
  get connectionNames(): readonly string[] {
    return [...this.#parts.keys()];
  }

  /** @internal Work belongs to no test until one begins inside of this one. */
  rest(): void {
    this.#parts.forEach(({ shared }) => shared.rest());
  }

  /** Number of transactions that the application has open now. */
  get openTransactions(): number {
    return [...this.#parts.values()].reduce((sum, { shared }) => sum + shared.openTransactions, 0);
  }

  /**
   * Rolls back everything that was done since the beginning, on all connections.
   *
   * @throws {@link TestIsolationError} the application still has a transaction or a context open that began in
   *   the test, or a statement is under way; everything is rolled back all the same
   */
  end(): Promise<void> {
    return (this.#ending ??= this.#end());
  }

  async #end(): Promise<void> {
    const deadline = graceFromNow();
    const left = (await this.#run?.end(deadline)) ?? [];
    this.#stopWatching.forEach((stop) => stop());
    const ended = await Promise.allSettled(
      [...this.#parts.values()].map(async ({ shared, layer, transaction }) => {
        try {
          await shared.end(layer, deadline);
        } finally {
          await transaction.rollback();
        }
      }),
    );
    const failed = ended.find((end) => end.status === 'rejected');
    const [name] = this.connectionNames;
    if (left.length > 0 && name !== undefined) {
      throw new TestIsolationError(
        name,
        `${left.length} unit(s) of work that began in the test were still open when the test ended: ` +
          `${[...new Set(left)].join(', ')}. Await the request or the call that opened them.`,
        failed?.reason,
      );
    }
    if (failed !== undefined) {
      throw failed.reason;
    }
  }

  /**
   * Ends it by a real COMMIT on all connections, and never throws: each says how it went.
   *
   * @internal
   */
  async keep(): Promise<readonly KeptRows[]> {
    const parts = [...this.#parts.values()];
    const kept = await Promise.all(parts.map(({ shared, layer }) => keepRows(shared, layer)));
    // The errors of the ends are among what is kept.
    await this.end().catch(() => undefined);
    return kept;
  }

  #part(name: string): TestPart {
    const part = this.#parts.get(name);
    if (part === undefined) {
      if (this.#declared.includes(name)) {
        throw new InvalidOptionsError(
          `Connection "${name}" is not shared with the test: the option connections leaves it out, or ` +
            'committing names it. Add it to connections, or look at its rows by a session of your own.',
        );
      }
      throw new UnknownConnectionError(name, [...this.#parts.keys()]);
    }
    return part;
  }
}

function fulfilled<T>(results: readonly PromiseSettledResult<T>[]): readonly T[] {
  return results.filter((each) => each.status === 'fulfilled').map(({ value }) => value);
}
