import type { EntityManager } from '@mikro-orm/core';

import { InvalidOptionsError } from '../errors.js';
import type { DriverEntityManager } from '../session/driver-entity-manager.js';
import {
  concurrentTestFunction,
  type ConcurrentTest,
  type RegisterTest,
} from './concurrent-test-function.js';
import { ConcurrentTests, type RunningTest } from './concurrent-tests.js';
import { OWNER_HEADER } from './request-ownership.js';
import { withRunnerTest } from './runner-contexts.js';
import { hooksOf, type RunnerHooks } from './runner-hooks.js';
import { isInside, type RunnerTest } from './runner-test.js';
import type { BlockSetUp } from './test-blocks.js';
import type { TestTransactionOptions } from './test-connections.js';
import { testRequests, type TestRequests } from './test-requests.js';
import type { TestTarget } from './test-target.js';
import type { TestTransaction } from './test-transaction.js';

interface ConcurrentOptions extends TestTransactionOptions, RunnerHooks {
  readonly test?: RegisterTest | undefined;
}

/**
 * Tests that run at the same time on one application, see `useTestTransaction()` with `concurrent`. All
 * members but `test()` and `allow()` are about the test that the calling code belongs to.
 *
 * @publicApi
 */
export interface ConcurrentTestTransactions extends Pick<
  TestTransaction,
  'session' | 'openTransactions'
> {
  /**
   * Registers a test that may run at the same time as others. All that it awaits belongs to it, whatever
   * the runner does about hooks: Jest calls no `beforeEach()` for `it.concurrent`. It has `only()`, `skip()`,
   * `todo()` and `each()` where the test function of the runner has them.
   *
   * A test that times out ends at once: its transactions are rolled back, and what its body goes on with is
   * refused. The wait for a connection of each pool counts towards the timeout.
   */
  readonly test: ConcurrentTest;
  /** Names the test, for the data of a job or the handshake of a socket; see `allow()`. */
  readonly token: string;
  /** The header that makes a request belong to the test. */
  headers(): Readonly<Record<string, string>>;
  /**
   * Sends requests that belong to the test: `get()`, `post()` and so on by supertest, which has to be
   * installed, and `inject()` where the application has it (Fastify).
   *
   * @param app the application, or its HTTP server
   */
  request<T extends object>(app: T): TestRequests<T>;
  /** Runs `work` as part of the test, where hooks have begun it: its body is in no async context of its own. */
  run<T>(work: () => T): T;
  /**
   * Runs `work` as part of the test with this token: the handler of a job or of a message, which a queue or
   * a socket calls, and which is in no async context of a test.
   *
   * @param token the `token` of the test, from the data of the job for example
   * @returns what `work` returns. It rejects with an {@link OutsideTestError}, and `work` is not run, where the
   *   test has ended or the token is that of no test; the `afterAll()` fails with that as well, so that it may
   *   be left unhandled
   */
  allow<T>(token: string, work: () => T): Promise<Awaited<T>>;
  /**
   * Is refused: tests at the same time share no transaction, so that there is none for the data of a block.
   *
   * @throws {@link InvalidOptionsError}
   */
  beforeAll(setUp: BlockSetUp): never;
}

/** Wires tests that run at the same time to the hooks of the test runner. */
export function useConcurrentTests(
  app: () => TestTarget,
  options: ConcurrentOptions,
): ConcurrentTestTransactions {
  const { connections, committing } = options;
  const tests = new ConcurrentTests(app, {
    ...(connections && { connections }),
    ...(committing && { committing }),
  });
  /** Some runners start bodies before the hooks. */
  const isWatching = Promise.withResolvers<void>();
  isWatching.promise.catch(() => undefined);
  /** The tests that are not registered by `test()`, of which only the hooks know. */
  const hooked: { readonly test: RunningTest; readonly runnerTest: RunnerTest | undefined }[] = [];
  const isPart = (runnerTest: RunnerTest | undefined): boolean =>
    hooked.some((each) => isInside(runnerTest, each.runnerTest));
  let hasOwnTests = false;

  const { beforeAll, afterAll, beforeEach, afterEach } = hooksOf(
    ['beforeAll', 'afterAll', 'beforeEach', 'afterEach'],
    options,
  );
  beforeAll(async () => {
    try {
      await tests.cover(app());
      isWatching.resolve();
    } catch (error) {
      isWatching.reject(error);
      throw error;
    }
  });
  beforeEach(
    withRunnerTest(async (runnerTest) => {
      if (!hasOwnTests && !isPart(runnerTest)) {
        hooked.push({ test: await tests.begin(), runnerTest });
      }
    }),
  );
  afterEach(
    withRunnerTest(async (runnerTest) => {
      const ended = isPart(runnerTest) ? undefined : hooked.shift();
      await (ended && tests.end(ended.test));
    }),
  );
  afterAll(() => tests.close());

  const current = (): RunningTest => {
    const test = tests.current() ?? (hooked.length === 1 ? hooked[0]!.test : undefined);
    if (test === undefined) {
      throw new InvalidOptionsError(
        'useTestTransaction() with { concurrent: true } was asked for the test that runs by code that ' +
          'belongs to none. Ask in the body of db.test(name, fn); hooks belong to no test in a block that ' +
          'has such tests.',
      );
    }
    return test;
  };
  const headers = (): Readonly<Record<string, string>> => ({
    [OWNER_HEADER]: current().owner.token,
  });
  const run = <T>(work: () => T): T => tests.runIn(current().owner, work);
  return {
    // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows its driver
    session: <E extends EntityManager = DriverEntityManager>(name?: string) =>
      current().transaction.session<E>(name),
    get openTransactions() {
      return current().transaction.openTransactions;
    },
    get token() {
      return current().owner.token;
    },
    headers,
    run,
    request: (target) => testRequests(target, { headers, run }),
    allow: (token, work) => tests.allow(token, work),
    beforeAll: () => {
      throw new InvalidOptionsError(
        'The beforeAll() of useTestTransaction() makes data in a transaction that its tests share, and with ' +
          '{ concurrent: true } each test has its own. Make the data in the tests, or write what all of them ' +
          'share before useTestTransaction() begins to watch: in a beforeAll() that stands before it.',
      );
    },
    test: concurrentTestFunction(options.test, {
      registers: () => {
        hasOwnTests = true;
      },
      run: async (name, body, limit) => {
        await isWatching.promise;
        await tests.run(name, body, limit);
      },
    }),
  };
}
