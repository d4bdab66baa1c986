import { InvalidOptionsError } from '../errors.js';

/** Registers a callback with a test runner. */
export type Hook = (callback: () => Promise<void>) => unknown;

/**
 * The hooks of a test runner that has none in the global scope.
 *
 * @publicApi
 */
export interface RunnerHooks {
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
  /**
   * The `beforeAll()` of the test runner, `before()` of `node:test`; needed for the data of a block only.
   * @defaultValue the global one, by either name
   */
  readonly beforeAll?: Hook;
  /**
   * The `afterAll()` of the test runner, `after()` of `node:test`; needed for the data of a block only.
   * @defaultValue the global one, by either name
   */
  readonly afterAll?: Hook;
}

/** The global names of each hook; Mocha has names of its own for two of them. */
const GLOBALS = {
  beforeEach: ['beforeEach'],
  afterEach: ['afterEach'],
  beforeAll: ['beforeAll', 'before'],
  afterAll: ['afterAll', 'after'],
} as const satisfies Record<keyof RunnerHooks, readonly string[]>;

/**
 * Finds a hook of the test runner.
 *
 * @throws {@link InvalidOptionsError} it is not given, and there is no global one
 */
export function hookOf(name: keyof RunnerHooks, given: RunnerHooks): Hook {
  const globals = globalThis as Readonly<Record<string, unknown>>;
  const found = [given[name], ...GLOBALS[name].map((each) => globals[each])].find(
    (each) => typeof each === 'function',
  );
  if (found === undefined) {
    throw new InvalidOptionsError(
      `useTestTransaction() found no global ${name}(). Give the one of your test runner: ` +
        'useTestTransaction(() => app, { beforeEach, afterEach, beforeAll, afterAll }).',
    );
  }
  return found as Hook;
}
