import type { EntityManager } from '@mikro-orm/core';

import type { DbConnection } from '../connection/db-connection.js';
import { InvalidOptionsError } from '../errors.js';
import { DEFAULT_CONNECTION_NAME, DEFAULTS } from '../options/defaults.js';
import type { DriverEntityManager } from '../session/driver-entity-manager.js';
import type { RegisterTest } from './concurrent-test-function.js';
import {
  useConcurrentTests,
  type ConcurrentTestTransactions,
} from './concurrent-test-transactions.js';
import { assertKeepsNothing, RowKeeper, type KeepOptions } from './row-keeper.js';
import { withRunnerTest } from './runner-contexts.js';
import { hooksOf, type RunnerHooks } from './runner-hooks.js';
import { TestBlocks, type BlockSetUp } from './test-blocks.js';
import {
  checkTestConnections,
  testConnectionsOf,
  type TestTransactionOptions,
} from './test-connections.js';
import type { TestTarget } from './test-target.js';
import { TestTransaction } from './test-transaction.js';
import { TestsInTurn } from './tests-in-turn.js';
import type { RefusedWork } from './outside-test-error.js';
import { TestWatch, type OutsideMode } from './test-watch.js';

/** Options of {@link useTestTransaction}. */
export interface UseTestTransactionOptions
  extends TestTransactionOptions, RunnerHooks, KeepOptions {
  /**
   * What becomes of work that belongs to no test, from the `beforeAll()` to the `afterAll()` of this
   * call: of a background job between two tests, or of a body that begins before its `beforeEach()`.
   * Where work was refused between two tests, the `afterAll()` fails as well.
   * @defaultValue 'refuse'
   */
  readonly outside?: OutsideMode;
  /**
   * Whether tests may run at the same time on the application, see {@link ConcurrentTestTransactions}.
   * @defaultValue false
   */
  readonly concurrent?: boolean;
  /**
   * With `concurrent`: how the test runner is given a test that may run at the same time as others.
   * @defaultValue the global `test.concurrent` (Jest, Vitest with `globals`)
   */
  readonly test?: RegisterTest;
}

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
   * Between the tests `session()` is one of the block; what the application does there belongs to no test, see
   * `outside`.
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
 * Runs tests of a file or a block at the same time, each in a transaction of its own, which is rolled back
 * when the test is over.
 *
 * @param app returns the application; it is called before each test, so `beforeAll` may make it
 * @throws {@link InvalidOptionsError} as without `concurrent`
 * @publicApi
 */
export function useTestTransaction(
  app: () => TestTarget,
  options: UseTestTransactionOptions & { readonly concurrent: true },
): ConcurrentTestTransactions;
/**
 * Runs each test of a file or a block in a {@link TestTransaction}: everything that the test or the
 * application does is rolled back afterwards. What the application does between two tests is refused.
 *
 * @param app returns the application; it is called before each test, so `beforeAll` may make it
 * @throws {@link InvalidOptionsError} the test runner has no global hooks, and none are given; or options
 *   contradict one another; or `keepOnFailure` where `NODE_ENV` is `production`
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
  options?: UseTestTransactionOptions,
): CurrentTestTransaction;
export function useTestTransaction(
  app: () => TestTarget,
  options: UseTestTransactionOptions = {},
): CurrentTestTransaction | ConcurrentTestTransactions {
  checkOptions(options);
  return options.concurrent === true
    ? useConcurrentTests(app, options)
    : useTestsInTurn(app, options);
}

function useTestsInTurn(
  app: () => TestTarget,
  {
    outside = DEFAULTS.useTestTransaction.outside,
    connections,
    committing,
    keepOnFailure,
    ...hooks
  }: UseTestTransactionOptions,
): CurrentTestTransaction {
  const options: TestTransactionOptions = {
    ...(connections && { connections }),
    ...(committing && { committing }),
  };
  const { beforeEach, afterEach } = hooksOf(['beforeEach', 'afterEach'], hooks);
  const watch = outside === 'commit' ? undefined : new TestWatch({ ...options, outside });
  const keeper = new RowKeeper(keepOnFailure === undefined ? {} : { keepOnFailure });
  const shared = (): readonly DbConnection[] => testConnectionsOf(app(), options).shared;
  const blocks = new TestBlocks(async (signal) => {
    const target = app();
    keeper.assertNoneKept(shared());
    await watch?.cover(target);
    const note = watch && ((refused: RefusedWork) => watch.note(refused));
    return TestTransaction.beginOwned(target, options, undefined, { signal, note });
  });
  const tests = new TestsInTurn({
    begin: (test, signal) => blocks.beginTest(app, test?.name, signal),
  });
  if (watch !== undefined) {
    const { beforeAll, afterAll } = hooksOf(['beforeAll', 'afterAll'], hooks);
    beforeAll(async () => {
      const made = madeBy(app);
      await (made && watch.cover(made));
    });
    afterAll(() => watch.end());
  }
  beforeEach(
    withRunnerTest(async (test) => {
      if (!tests.isPart(test)) {
        keeper.testBegins(test);
        await tests.begin(test);
      }
    }),
  );
  afterEach(
    withRunnerTest(async (test) => {
      if (tests.isPart(test)) {
        keeper.partIsOver(test);
        return;
      }
      const ended = tests.over();
      watch?.testIsOver(test?.name);
      if (ended !== undefined && keeper.isDue(test)) {
        throw keeper.noteKept(await blocks.keep(ended), shared(), test);
      }
      await ended?.end();
    }),
  );
  const running = (): TestTransaction => {
    const transaction = tests.current ?? blocks.current;
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
      if (tests.current === undefined) {
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
      const { beforeAll, afterAll } = hooksOf(['beforeAll', 'afterAll'], hooks);
      let end: (() => Promise<void>) | undefined;
      beforeAll(async () => {
        end = await blocks.begin(setUp as unknown as BlockSetUp);
      });
      afterAll(async () => end?.());
    },
  };
}

/** The application, if there is one before the first test. */
function madeBy(app: () => TestTarget): TestTarget | undefined {
  try {
    return app();
  } catch {
    // It is asked for again before each test, which then fails.
    return undefined;
  }
}

function checkOptions(options: UseTestTransactionOptions): void {
  const { outside, concurrent = DEFAULTS.useTestTransaction.concurrent } = options;
  checkTestConnections(options);
  if (outside !== undefined && !['refuse', 'hold', 'commit'].includes(outside)) {
    throw new InvalidOptionsError(
      `useTestTransaction() was given outside: ${JSON.stringify(outside)}. Give 'refuse', 'hold' or 'commit'.`,
    );
  }
  if (concurrent) {
    assertKeepsNothing(options);
  }
  if (concurrent && outside !== undefined && outside !== 'refuse') {
    throw new InvalidOptionsError(
      `useTestTransaction() was given outside: '${outside}' with concurrent: true. Where tests run at the ` +
        'same time, work that belongs to none of them is refused; leave outside away.',
    );
  }
}
