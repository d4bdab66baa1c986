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
    /** How often it is tried again. */
    readonly retry?: number | { readonly count?: number };
    readonly result?: { readonly state?: string; readonly retryCount?: number };
  };
}

/** The context of `node:test`. */
interface NodeContext {
  readonly name: string;
  readonly fullName?: string;
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
      willRetry: () => (task.result?.retryCount ?? 0) < retriesOf(task),
    };
  }
  if (isNode(argument)) {
    return {
      name: argument.name,
      ...(argument.fullName !== undefined && { path: argument.fullName }),
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

function retriesOf({ retry = 0 }: VitestContext['task']): number {
  return typeof retry === 'number' ? retry : (retry.count ?? 0);
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
