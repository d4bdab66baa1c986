import type { Holder } from '../connection/claim.js';
import { withinLimit } from '../connection/time-limit.js';
import type { Context } from '../context/context.js';
import type { ContextRegistry } from '../context/context-registry.js';
import { innermostContext } from '../context/context-storage.js';

/** Which test a {@link TestRun} is, as far as that is known. */
export interface TestRunOptions {
  /** What the test runner calls it. */
  readonly name?: string | undefined;
  /** Whether the code that runs now belongs to it; without this all code does. */
  readonly isMine?: () => boolean;
}

const runs = new WeakMap<Holder, TestRun>();
const running = new WeakMap<ContextRegistry, readonly TestRun[]>();
/** The units of work that the end of their test has named. */
const named = new WeakSet<Holder>();

/**
 * The time from the beginning of one test to its end. A context that was opened meanwhile belongs to that test
 * and to no later one, also where it has no transaction open at its end (T1).
 */
export class TestRun {
  readonly name: string | undefined;
  /** Whether the test has ended, so that its contexts get no client any more. */
  isOver = false;
  readonly #open = new Set<Context>();
  readonly #registry: ContextRegistry;
  readonly #isMine: () => boolean;
  /** Whether all code belongs to it until its end. */
  readonly #isAlone: boolean;
  /** Called at its end. */
  readonly #stops = new Set<() => void>();
  #onNoneOpen: (() => void) | undefined;

  constructor(registry: ContextRegistry, { name, isMine }: TestRunOptions) {
    this.name = name;
    this.#registry = registry;
    this.#isMine = isMine ?? ((): boolean => true);
    this.#isAlone = isMine === undefined;
    const before = running.get(registry);
    running.set(registry, [...(before ?? []), this]);
    if (before === undefined) {
      // For good: what a test has left may open contexts at any time.
      registry.attach({
        opened: (context, within) => TestRun.#opened(registry, context, within),
        ended: TestRun.#ended,
      });
    }
  }

  static #opened(registry: ContextRegistry, context: Context, within: Context | undefined): void {
    const outer = within && runs.get(within);
    // What a context that has ended still opens is of its test; of tests at the same time, their owners know.
    const isOfOuter = outer !== undefined && (outer.#isAlone || within?.slot !== undefined);
    const run = isOfOuter ? outer : TestRun.current(registry);
    if (run !== undefined) {
      runs.set(context, run);
      if (!run.isOver) {
        run.#open.add(context);
      }
    }
  }

  static #ended(this: void, context: Context): void {
    const run = runs.get(context);
    if (run !== undefined && run.#open.delete(context) && run.#open.size === 0) {
      run.#onNoneOpen?.();
    }
  }

  /** The test that a unit of work belongs to, by the context that it runs in. */
  static of(holder: Holder | undefined): TestRun | undefined {
    for (let each = holder; each !== undefined; each = each.outer) {
      const run = runs.get(each);
      if (run !== undefined) {
        return run;
      }
    }
    return undefined;
  }

  /**
   * The unit of work that the code runs in which asks for a client past all sessions, as a fork does, where that
   * is of a test, of those that run one after another; also where it has ended.
   */
  static holderHere(): Holder | undefined {
    const context = innermostContext();
    const run = context && runs.get(context);
    return run !== undefined && run.#isAlone ? context : undefined;
  }

  /** Whether the end of its test has named the unit of work, or one around it, as still open. */
  static isNamed(holder: Holder | undefined): boolean {
    for (let each = holder; each !== undefined; each = each.outer) {
      if (named.has(each)) {
        return true;
      }
    }
    return false;
  }

  /** The test that the code belongs to which runs now, where it shares a transaction with the application. */
  static current(registry: ContextRegistry): TestRun | undefined {
    return running.get(registry)?.findLast((run) => run.#isMine());
  }

  /**
   * Says later whether the code that runs then belongs to the test of the code that runs now. Outside of a test
   * all code does.
   */
  static belonging(registry: ContextRegistry): () => boolean {
    const run = TestRun.current(registry);
    return () => run === undefined || run === TestRun.current(registry);
  }

  /** Calls `stop` when the test that runs now ends, or when the function is called that it returns. */
  static stopAtEnd(registry: ContextRegistry, stop: () => void): () => void {
    const run = TestRun.current(registry);
    if (run === undefined) {
      return stop;
    }
    run.#stops.add(stop);
    return () => {
      run.#stops.delete(stop);
      stop();
    };
  }

  /** A context of the test itself, which may close it after its end: nobody waits for it. */
  static expectLater(context: Context): void {
    const run = runs.get(context);
    if (run !== undefined) {
      run.#open.delete(context);
    }
  }

  /**
   * Ends it, after a wait for its contexts that are about to end.
   *
   * @param deadline the end of that wait, by `performance.now()`
   * @returns what the contexts are called that are still open
   */
  async end(deadline: number): Promise<readonly string[]> {
    const left = deadline - performance.now();
    if (this.#open.size > 0 && left > 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onNoneOpen = resolve;
      await withinLimit(promise, left);
    }
    this.isOver = true;
    this.#stops.forEach((stop) => stop());
    running.set(
      this.#registry,
      (running.get(this.#registry) ?? []).filter((each) => each !== this),
    );
    this.#open.forEach((context) => named.add(context));
    return [...this.#open].map(({ origin }) => origin);
  }
}
