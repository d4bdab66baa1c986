import {
  useTestTransaction,
  type ConcurrentTestTransactions,
  type TestTarget,
  type TestTransactionOptions,
} from 'nestjs-db-context/testing';

import { RunnerHooks } from './runner-hooks.js';

interface ConcurrentBlockOptions extends TestTransactionOptions {
  /** What the tests of `runTest()` are called. */
  readonly testName?: string;
}

/** A block of concurrent tests, whose hooks and bodies a spec runs itself. */
export interface ConcurrentBlock {
  readonly hooks: RunnerHooks;
  readonly db: ConcurrentTestTransactions;
  /** The bodies of the tests that `db.test()` has registered, as the runner would call them. */
  readonly bodies: readonly (() => Promise<void>)[];
  /** Registers a test, and runs it at once. */
  readonly runTest: (body: () => unknown) => Promise<void>;
}

export function concurrentBlock(
  app: () => TestTarget,
  { testName = 'a test', ...options }: ConcurrentBlockOptions = {},
): ConcurrentBlock {
  const hooks = new RunnerHooks();
  const bodies: (() => Promise<void>)[] = [];
  const db = useTestTransaction(app, {
    ...hooks.options,
    ...options,
    concurrent: true,
    test: (_, body) => bodies.push(body),
  });
  const runTest = (body: () => unknown): Promise<void> => {
    db.test(testName, body);
    return bodies.pop()!();
  };
  return { hooks, db, bodies, runTest };
}
