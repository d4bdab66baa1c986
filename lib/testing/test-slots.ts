import { TestTimeoutError } from './errors.js';

/** A test that waits for a slot. */
interface Waiter {
  readonly begin: () => void;
  readonly giveUp: (error: Error) => void;
}

/** Lets a number of tests run at the same time, in the order in which they came. */
export class TestSlots {
  readonly #size: number;
  readonly #waiting = new Set<Waiter>();
  /** The names of the tests that have a slot. */
  readonly #holding: string[] = [];
  #isClosed = false;

  constructor(size: number) {
    this.#size = size;
  }

  /**
   * @param name of the test
   * @param limitMs longest wait in milliseconds
   * @throws {@link TestTimeoutError} it is over, or the block of the tests is
   */
  async take(name: string, limitMs: number | undefined): Promise<void> {
    if (this.#isClosed) {
      throw this.#error(name, 'when the tests had ended');
    }
    if (this.#holding.length < this.#size) {
      this.#holding.push(name);
    } else {
      await this.#wait(name, limitMs);
    }
  }

  /** Gives the slot of a test to the next in the queue. */
  giveBack(name: string): void {
    this.#holding.splice(this.#holding.indexOf(name), 1);
    const [next] = this.#waiting;
    if (next !== undefined) {
      this.#waiting.delete(next);
      next.begin();
    }
  }

  /** Lets no more tests begin. */
  close(): void {
    this.#isClosed = true;
    this.#waiting.forEach(({ giveUp }) => giveUp(new Error()));
    this.#waiting.clear();
  }

  async #wait(name: string, limitMs: number | undefined): Promise<void> {
    const startedAt = performance.now();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const begin = (): void => {
      this.#holding.push(name);
      resolve();
    };
    const waiter: Waiter = { begin, giveUp: reject };
    this.#waiting.add(waiter);
    const timer = limitMs === undefined ? undefined : setTimeout(reject, limitMs);
    try {
      await promise;
    } catch {
      this.#waiting.delete(waiter);
      throw this.#error(name, `for ${Math.round(performance.now() - startedAt)} ms`);
    } finally {
      clearTimeout(timer);
    }
  }

  #error(name: string, when: string): TestTimeoutError {
    const held = this.#holding.map((each) => `"${each}"`).join(', ') || 'no test any more';
    return new TestTimeoutError(
      `The test "${name}" did not begin: it waited ${when} for a connection of its own. Each concurrent ` +
        `test holds one of each pool, and the smallest pool has ${this.#size}, held by: ${held}. End what ` +
        'hangs there, enlarge pool.max, or let the runner begin fewer tests at a time (maxConcurrency).',
    );
  }
}
