import type { Holder } from '../connection/claim.js';
import { withinLimit } from '../connection/time-limit.js';
import type { Context } from '../context/context.js';
import type { ContextRegistry } from '../context/context-registry.js';

/** Which test a {@link TestRun} is, as far as that is known. */
export interface TestRunOptions {
  /** What the test runner calls it. */
  readonly name?: string | undefined;
  /** Whether the code that runs now belongs to it; without this all code does. */
  readonly isMine?: () => boolean;
}

const runs = new WeakMap<Holder, TestRun>();
const running = new WeakMap<ContextRegistry, readonly TestRun[]>();

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
  /** Called at its end. */
  readonly #stops = new Set<() => void>();
  #onNoneOpen: (() => void) | undefined;

  constructor(registry: ContextRegistry, { name, isMine = () => true }: TestRunOptions) {
    this.name = name;
    this.#registry = registry;
    this.#isMine = isMine;
    running.set(registry, [...(running.get(registry) ?? []), this]);
    const detach = registry.attach({
      opened: (context, within) => {
        const run = within?.slot === undefined ? undefined : runs.get(within);
        if (run === undefined ? isMine() : run === this) {
          runs.set(context, this);
          this.#open.add(context);
        }
      },
      ended: (context) => {
        if (this.#open.delete(context) && this.#open.size === 0) {
          this.#onNoneOpen?.();
        }
      },
    });
    this.#stops.add(detach);
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
    return [...this.#open].map(({ origin }) => origin);
  }
}
