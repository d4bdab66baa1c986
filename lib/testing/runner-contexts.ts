import { jestTest } from './jest-test.js';
import type { RunnerTest } from './runner-test.js';

/** What a runner has called a hook with. */
interface HookCall {
  /** `this`, where Mocha hands over its context. */
  readonly self: unknown;
  /** The first argument, where Vitest and `node:test` hand over theirs. */
  readonly argument: unknown;
}

/** The context of Vitest. */
interface VitestContext {
  readonly task: {
    readonly name: string;
    /** Whether it is a `test.fails()`. */
    readonly fails?: boolean;
    readonly result?: { readonly state?: string };
  };
}

/** The context of `node:test`. */
interface NodeContext {
  readonly name: string;
  readonly passed: boolean;
  diagnostic(text: string): void;
}

/** The context of Mocha. */
interface MochaContext {
  readonly currentTest: { readonly title: string; readonly state?: string };
}

/**
 * A callback for a hook that learns which test runs. It takes no parameter: Jest and Mocha would wait for
 * one to be called, and Vitest for names of fixtures.
 */
export function withRunnerTest(
  run: (test: RunnerTest | undefined) => Promise<void>,
): () => Promise<void> {
  return function hook(this: unknown): Promise<void> {
    return run(testOf({ self: this, argument: arguments[0] }));
  };
}

function testOf({ self, argument }: HookCall): RunnerTest | undefined {
  if (isVitest(argument)) {
    const { task } = argument;
    return {
      name: task.name,
      hasFailed: () => task.result?.state === 'fail' && task.fails !== true,
    };
  }
  if (isNode(argument)) {
    return {
      name: argument.name,
      hasFailed: () => !argument.passed,
      note: (text) => argument.diagnostic(text),
    };
  }
  if (isMocha(self)) {
    const { currentTest } = self;
    return {
      name: currentTest.title,
      hasFailed: () => currentTest.state === 'failed',
    };
  }
  return jestTest();
}

function isVitest(context: unknown): context is VitestContext {
  const task = (context as Partial<VitestContext> | undefined)?.task;
  return typeof task === 'object' && task !== null && 'name' in task;
}

function isNode(context: unknown): context is NodeContext {
  const { passed, diagnostic } = (context ?? {}) as Partial<NodeContext>;
  return typeof passed === 'boolean' && typeof diagnostic === 'function';
}

function isMocha(context: unknown): context is MochaContext {
  const test = (context as Partial<MochaContext> | undefined)?.currentTest;
  return typeof test === 'object' && test !== null && 'title' in test;
}
