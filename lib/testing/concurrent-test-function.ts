import { format } from 'node:util';

import { InvalidOptionsError } from '../errors.js';
import { testLimitOf, type TestLimit } from './test-limit.js';

/**
 * Registers a test with the test runner.
 *
 * @publicApi
 */
export type RegisterTest = (name: string, body: () => Promise<void>, timeoutMs?: number) => unknown;

/**
 * Options of a test, for those runners whose test functions take them as their second argument: Vitest and
 * `node:test`. They are handed on as they are.
 *
 * @publicApi
 */
export interface RunnerTestOptions {
  /** Longest time that the test may take, in milliseconds. */
  readonly timeout?: number;
  readonly [option: string]: unknown;
}

/**
 * A row as the arguments of a test: an array is several.
 *
 * @publicApi
 */
export type RowArguments<Row> = Row extends readonly unknown[] ? Row : readonly [row: Row];

/**
 * Registers a test that may run at the same time as others. All that it awaits belongs to it.
 *
 * @publicApi
 */
export interface RegisterConcurrentTest {
  /**
   * @param body gets what the runner hands to a test: the context of Vitest, the `t` of `node:test`
   * @param timeoutMs longest time that it may take, in milliseconds; the default is the test runner's
   * @throws {@link InvalidOptionsError} the runner has no global test function, and none is given
   */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows its runner
  <Args extends readonly unknown[]>(
    name: string,
    body: (...args: Args) => unknown,
    timeoutMs?: number,
  ): void;
  /** @param options a retry for example, for a runner whose test function takes options */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows its runner
  <Args extends readonly unknown[]>(
    name: string,
    options: RunnerTestOptions,
    body: (...args: Args) => unknown,
  ): void;
  /**
   * Registers a test for each row, by the `each()` of the runner, which puts the row into the name.
   *
   * @throws {@link InvalidOptionsError} the runner has none (`node:test`)
   */
  each<Row>(
    rows: readonly Row[],
  ): (name: string, body: (...args: RowArguments<Row>) => unknown, timeoutMs?: number) => void;
}

/**
 * The `test()` of tests that run at the same time, with what the test function of the runner has.
 *
 * @publicApi
 */
export interface ConcurrentTest extends RegisterConcurrentTest {
  /** By the `only()` of the runner: others of the file are left out. */
  readonly only: RegisterConcurrentTest;
  /** By the `skip()` of the runner: the test is not run. */
  readonly skip: RegisterConcurrentTest;
  /** By the `todo()` of the runner: there is no body yet. */
  todo(name: string): void;
}

/** A test function of a runner, with its variants. */
type RunnerTestFunction = ((name: string, ...rest: readonly unknown[]) => unknown) & {
  /** Jest and Vitest: runs a test at the same time as others. */
  readonly concurrent?: RunnerTestFunction;
  readonly only?: RunnerTestFunction;
  readonly skip?: RunnerTestFunction;
  readonly todo?: RunnerTestFunction;
  readonly each?: ForRows;
  /** The `each()` of Vitest whose bodies get its context as well. */
  readonly for?: ForRows;
};

type ForRows = (rows: readonly unknown[]) => RunnerTestFunction;

/** What becomes of the tests that are registered. */
interface RegisteredTests {
  /** A test is registered. */
  registers(): void;
  /** Runs a body as a test, when the runner has called it. */
  run(name: string, body: () => unknown, limit: TestLimit): Promise<void>;
}

type Body = (...args: never) => unknown;

/** @param given the option `test` */
export function concurrentTestFunction(
  given: RegisterTest | undefined,
  tests: RegisteredTests,
): ConcurrentTest {
  const variant = (name: 'only' | 'skip' | 'todo') => () => variantOf(given, name);
  return Object.assign(
    registering(() => registerOf(given), tests),
    {
      only: registering(variant('only'), tests),
      skip: registering(variant('skip'), tests),
      todo: (name: string) => void variant('todo')()(name),
    },
  );
}

/** @param find the function of the runner, which is looked for when a test is registered */
function registering(
  find: () => RunnerTestFunction,
  tests: RegisteredTests,
): RegisterConcurrentTest {
  const register = (name: string, ...rest: readonly [unknown, unknown?]): void => {
    const [options, body] = typeof rest[0] === 'function' ? [rest[1], rest[0]] : rest;
    tests.registers();
    const registered = withArguments(body as Body, (args, call) =>
      tests.run(name, call, testLimitOf(args[0], timeoutOf(options))),
    );
    if (typeof rest[0] === 'function') {
      find()(name, registered, options);
    } else {
      find()(name, options, registered);
    }
  };
  const each = (rows: readonly unknown[]) => {
    const isTable = rows.every((row) => Array.isArray(row));
    return (name: string, body: Body, timeoutMs?: number): void => {
      const run = (row: readonly unknown[], context: unknown): Promise<void> =>
        tests.run(
          format(name, ...row),
          () => Reflect.apply(body, undefined, row) as unknown,
          testLimitOf(context, timeoutMs),
        );
      const test = find();
      tests.registers();
      if (test.for !== undefined) {
        const inVitest = (...[row, context]: readonly unknown[]): Promise<void> =>
          run(isTable ? (row as readonly unknown[]) : [row], context);
        test.for(rows)(name, inVitest, timeoutMs);
      } else if (test.each !== undefined) {
        test.each(rows)(name, (...row: readonly unknown[]) => run(row, undefined), timeoutMs);
      } else {
        throw missing('each', 'Call db.test() in a loop.');
      }
    };
  };
  return Object.assign(register, { each }) as RegisterConcurrentTest;
}

function timeoutOf(options: unknown): number | undefined {
  return typeof options === 'number'
    ? options
    : (options as RunnerTestOptions | undefined)?.timeout;
}

/**
 * The body of a test for its runner, which hands over arguments though it has no parameter: Jest would wait
 * for one to be called. Vitest reads the names of fixtures in the text of the function.
 *
 * @param run gets those arguments, and a function that calls `body` with them
 */
function withArguments(
  body: Body,
  run: (args: readonly unknown[], call: () => unknown) => Promise<void>,
): () => Promise<void> {
  function test(this: unknown): Promise<void> {
    const args: readonly unknown[] = [...arguments];
    return run(args, () => Reflect.apply(body, this, args) as unknown);
  }
  return Object.assign(test, { toString: () => body.toString() });
}

function globalTests(): { readonly test?: RunnerTestFunction; readonly it?: RunnerTestFunction } {
  return globalThis as unknown as ReturnType<typeof globalTests>;
}

function registerOf(given: RegisterTest | undefined): RunnerTestFunction {
  const { test, it } = globalTests();
  const found = (given as RunnerTestFunction) ?? test?.concurrent ?? it?.concurrent ?? it ?? test;
  if (found === undefined) {
    throw new InvalidOptionsError(
      'db.test() found no global test function. Give the one of your test runner: ' +
        'useTestTransaction(() => app, { concurrent: true, test: test.concurrent }).',
    );
  }
  return found;
}

function variantOf(
  given: RegisterTest | undefined,
  name: 'only' | 'skip' | 'todo',
): RunnerTestFunction {
  const register = registerOf(given);
  // The test.concurrent of Jest has no todo(), and what has no body runs beside nothing.
  const found = register[name] ?? (name === 'todo' ? globalTests().test?.todo : undefined);
  if (found === undefined) {
    throw missing(name, 'Give the test function of the runner itself as the option test.');
  }
  return found;
}

function missing(name: string, advice: string): InvalidOptionsError {
  return new InvalidOptionsError(
    `db.test.${name}() uses the ${name}() of the test function of the runner, which has none. ${advice}`,
  );
}
