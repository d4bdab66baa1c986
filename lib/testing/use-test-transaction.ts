import type { EntityManager } from '@mikro-orm/core';

import { InvalidOptionsError } from '../errors.js';
import type { TestTarget } from './test-target.js';
import { TestTransaction, type TestTransactionOptions } from './test-transaction.js';
import type { DriverEntityManager } from '../session/driver-entity-manager.js';

type Hook = (callback: () => Promise<void>) => unknown;

/** Options of {@link useTestTransaction}. */
export interface UseTestTransactionOptions extends TestTransactionOptions {
  /**
   * The `beforeEach()` of the test runner.
   * @defaultValue the global one (Jest, Mocha, Vitest with `globals`)
   */
  readonly beforeEach?: Hook;
  /**
   * The `afterEach()` of the test runner.
   * @defaultValue the global one
   */
  readonly afterEach?: Hook;
}

/** The transaction of the test that runs now. */
export type CurrentTestTransaction = Pick<TestTransaction, 'session' | 'openTransactions'>;

/**
 * Runs each test of a file or a block in a {@link TestTransaction}: everything that the test or the
 * application does is rolled back afterwards.
 *
 * @param app returns the application; it is called before each test, so `beforeAll` may make it
 * @throws {@link InvalidOptionsError} the test runner has no global hooks, and none are given
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
  { beforeEach, afterEach, ...options }: UseTestTransactionOptions = {},
): CurrentTestTransaction {
  let current: TestTransaction | undefined;
  hook(
    'beforeEach',
    beforeEach,
  )(async () => {
    current = await TestTransaction.begin(app(), options);
  });
  hook(
    'afterEach',
    afterEach,
  )(async () => {
    // There is no transaction where it could not begin.
    const ended = current;
    current = undefined;
    await ended?.end();
  });
  const running = (): TestTransaction => {
    if (current === undefined) {
      throw new InvalidOptionsError(
        'useTestTransaction() was asked for its session outside of a test. Ask in a test, or in a ' +
          'beforeEach() that comes after it.',
      );
    }
    return current;
  };
  return {
    // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows its driver
    session: <E extends EntityManager = DriverEntityManager>(name?: string) =>
      running().session<E>(name),
    get openTransactions() {
      return running().openTransactions;
    },
  };
}

function hook(name: 'beforeEach' | 'afterEach', given: Hook | undefined): Hook {
  const found = given ?? (globalThis as { [K in typeof name]?: Hook })[name];
  if (found === undefined) {
    throw new InvalidOptionsError(
      `useTestTransaction() found no global ${name}(). Give the one of your test runner: ` +
        `useTestTransaction(() => app, { beforeEach, afterEach }).`,
    );
  }
  return found;
}
