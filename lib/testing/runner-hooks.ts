import { InvalidOptionsError } from '../errors.js';

/**
 * Registers a callback that the test runner calls and awaits.
 *
 * @publicApi
 */
export type Hook = (callback: () => Promise<void>) => unknown;

/**
 * The hooks of the test runner.
 *
 * @publicApi
 */
export interface RunnerHooks {
  /**
   * The `beforeAll()` of the test runner (`before()` of Mocha and `node:test`).
   * @defaultValue the global one
   */
  readonly beforeAll?: Hook;
  /**
   * The `afterAll()` of the test runner (`after()` of Mocha and `node:test`).
   * @defaultValue the global one
   */
  readonly afterAll?: Hook;
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

/** The names under which the runners have a hook. */
const GLOBAL_NAMES: Record<keyof RunnerHooks, readonly string[]> = {
  beforeAll: ['beforeAll', 'before'],
  afterAll: ['afterAll', 'after'],
  beforeEach: ['beforeEach'],
  afterEach: ['afterEach'],
};

/**
 * The hooks of these names, those that are given before the global ones.
 *
 * @throws {@link InvalidOptionsError} the test runner has no global one, and none is given
 */
export function hooksOf<Name extends keyof RunnerHooks>(
  names: readonly Name[],
  given: RunnerHooks,
): Record<Name, Hook> {
  return Object.fromEntries(names.map((name) => [name, hookOf(name, given[name])])) as Record<
    Name,
    Hook
  >;
}

function hookOf(name: keyof RunnerHooks, given: Hook | undefined): Hook {
  const globals = globalThis as unknown as Record<string, Hook | undefined>;
  const found = [given, ...GLOBAL_NAMES[name].map((each) => globals[each])].find(
    (each) => typeof each === 'function',
  );
  if (found === undefined) {
    throw new InvalidOptionsError(
      `useTestTransaction() found no global ${name}(). Give the ones of your test runner: ` +
        `useTestTransaction(() => app, { beforeAll, afterAll, beforeEach, afterEach }).`,
    );
  }
  return found;
}
