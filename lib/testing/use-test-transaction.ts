import type { EntityManager } from '@mikro-orm/core';

import type { DbConnection } from '../connection/db-connection.js';
import { InvalidOptionsError } from '../errors.js';
import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import { RowKeeper, type KeepOptions } from './row-keeper.js';
import { hookOf, type RunnerHooks } from './runner-hooks.js';
import { withRunnerTest } from './runner-contexts.js';
import { TestBlocks, type BlockSetUp } from './test-blocks.js';
import { connectionsOf, type TestTarget } from './test-target.js';
import { TestTransaction, type TestTransactionOptions } from './test-transaction.js';
import type { DriverEntityManager } from '../session/driver-entity-manager.js';

/** Options of {@link useTestTransaction}. */
export interface UseTestTransactionOptions
  extends TestTransactionOptions, RunnerHooks, KeepOptions {}

/**
 * The transaction of the test that runs now; in a hook that runs between the tests, that of the block.
 *
 * @publicApi
 */
export interface CurrentTestTransaction extends Pick<
  TestTransaction,
  'session' | 'openTransactions'
> {
  /**
   * Makes data once for all tests of the `describe` that it is called in, or of the file. The block holds
   * the transaction, and each test a savepoint in it, so that no test sees what another one has done.
   * Blocks may lie inside of one another.
   *
   * Entities that `setUp` has made or loaded can be used in the tests: before each of them they get back
   * what they were like at the end of `setUp`, without a query, and belong to a session of that test.
   *
   * @param setUp runs before the tests of the block, inside of its transaction; it may send requests, too
   * @throws {@link InvalidOptionsError} the test runner has no global hooks, and none are given
   * @example
   * ```ts
   * let ada: Customer;
   * db.beforeAll((session) => {
   *   ada = session.create(Customer, { name: 'Ada' });
   * });
   * ```
   */
  beforeAll<E extends EntityManager = DriverEntityManager>(setUp: BlockSetUp<E>): void;

  /**
   * Has the rows of the test that runs be committed for real when it ends, whether it passes or fails, to be
   * looked at. The test fails with a {@link KeptRowsError}, so that no call is left in the code by accident,
   * and later tests on the application are refused.
   *
   * @throws {@link InvalidOptionsError} no test runs, or `NODE_ENV` is `production`
   */
  keep(): void;

  /** Whether a test has kept its rows, so that the database is not to be dropped or reset. */
  readonly hasKeptRows: boolean;
}

/**
 * Runs each test of a file or a block in a {@link TestTransaction}: everything that the test or the
 * application does is rolled back afterwards.
 *
 * @param app returns the application; it is called before each test, so `beforeAll` may make it
 * @throws {@link InvalidOptionsError} the test runner has no global hooks, and none are given; or
 *   `keepOnFailure` where `NODE_ENV` is `production`
 * @example
 * ```ts
 * const db = useTestTransaction(() => app);
 *
 * it('lists orders', async () => {
 *   await db.session().insert(Order, { id: 1 });
 *   await request(app.getHttpServer()).get('/orders').expect(200);
 * });
 * ```
 * @publicApi
 */
export function useTestTransaction(
  app: () => TestTarget,
  options: UseTestTransactionOptions = {},
): CurrentTestTransaction {
  let current: TestTransaction | undefined;
  const keeper = new RowKeeper(options);
  const connections = (): DbConnection[] => connectionsOf(app(), options.connections);
  const blocks = new TestBlocks(async () => {
    keeper.assertNoneKept(connections());
    return TestTransaction.begin(app(), options);
  });
  hookOf(
    'beforeEach',
    options,
  )(
    withRunnerTest(async (test) => {
      keeper.testBegins(test);
      current = await blocks.beginTest();
    }),
  );
  hookOf(
    'afterEach',
    options,
  )(
    withRunnerTest(async (test) => {
      // There is no transaction where it could not begin.
      const ended = current;
      current = undefined;
      if (ended !== undefined && keeper.isDue(test)) {
        throw keeper.noteKept(await blocks.keep(ended), connections(), test);
      }
      await ended?.end();
    }),
  );
  const running = (): TestTransaction => {
    const transaction = current ?? blocks.current;
    if (transaction === undefined) {
      throw new InvalidOptionsError(
        'useTestTransaction() was asked for its session outside of a test. Ask in a test, in a ' +
          'beforeEach() that comes after it, or in the callback of its beforeAll().',
      );
    }
    return transaction;
  };
  return {
    // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows its driver
    session: <E extends EntityManager = DriverEntityManager>(name?: string) =>
      blocks.gaveOut(name ?? DEFAULT_CONNECTION_NAME, running().session<E>(name)),
    get openTransactions() {
      return running().openTransactions;
    },
    keep: () => {
      if (current === undefined) {
        throw new InvalidOptionsError(
          'keep() of useTestTransaction() was called outside of a test. Call it in the test.',
        );
      }
      keeper.ask();
    },
    get hasKeptRows() {
      return keeper.hasKept;
    },
    beforeAll: (setUp) => {
      let end: (() => Promise<void>) | undefined;
      hookOf(
        'beforeAll',
        options,
      )(async () => {
        end = await blocks.begin(setUp as unknown as BlockSetUp);
      });
      hookOf('afterAll', options)(async () => end?.());
    },
  };
}
