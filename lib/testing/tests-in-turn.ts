import { TIMED_OUT } from '../connection/time-limit.js';
import { TestTimeoutError } from './errors.js';
import { isTickFake, withinRealTime } from './fake-clock.js';
import { isInside, type RunnerTest } from './runner-test.js';
import type { TestTransaction } from './test-transaction.js';

/** How long what cannot come to an end by itself is waited for, in milliseconds. */
const PATIENCE_MS = 1_000;

/** The transaction of a test that begins. */
interface Begin {
  readonly name: string;
  /** Aborted as soon as its test is over. */
  readonly giveUp: AbortController;
  over: Promise<void>;
}

interface TestsInTurnOptions {
  /**
   * Begins the transaction of a test.
   *
   * @param signal aborted where nobody waits for it any more
   */
  readonly begin: (test: RunnerTest | undefined, signal: AbortSignal) => Promise<TestTransaction>;
}

/** The test that runs now, of those that run one after another, with its transaction. */
export class TestsInTurn {
  readonly #options: TestsInTurnOptions;
  #running:
    | { readonly test: RunnerTest | undefined; readonly transaction: TestTransaction }
    | undefined;
  #begins: Begin | undefined;

  constructor(options: TestsInTurnOptions) {
    this.#options = options;
  }

  /** The transaction of the test that runs. */
  get current(): TestTransaction | undefined {
    return this.#running?.transaction;
  }

  /** Whether it is a subtest of the test that runs, whose transaction is its own as well. */
  isPart(test: RunnerTest | undefined): boolean {
    return isInside(test, this.#running?.test);
  }

  /**
   * Begins a test. An earlier one for which its runner has waited in vain comes to its end before.
   *
   * @throws {@link TestTimeoutError} that does not come to an end, or a fake clock keeps this from beginning
   */
  async begin(test: RunnerTest | undefined): Promise<void> {
    const name = test === undefined ? 'a test' : `the test "${test.name}"`;
    const earlier = this.#begins;
    // One that is not given up is of a test that the runner has begun at the same time, which is refused.
    if (
      earlier?.giveUp.signal.aborted === true &&
      (await withinRealTime(earlier.over, PATIENCE_MS)) === TIMED_OUT
    ) {
      throw new TestTimeoutError(
        `The transaction of ${name} could not begin, since that of ${earlier.name} has not begun yet, and ` +
          `could not be given up within ${PATIENCE_MS} ms. ${whyItHangs()}`,
      );
    }
    const begin: Begin = { name, giveUp: new AbortController(), over: Promise.resolve() };
    const over = this.#run(begin, test);
    begin.over = over.catch(() => undefined);
    this.#begins = begin;
    if (isTickFake() && (await withinRealTime(begin.over, PATIENCE_MS)) === TIMED_OUT) {
      throw new TestTimeoutError(
        `The transaction of ${name} has not begun within ${PATIENCE_MS} ms. ${whyItHangs()}`,
      );
    }
    await over;
  }

  /**
   * A test is over.
   *
   * @returns its transaction; `undefined` where it could not begin
   */
  over(): TestTransaction | undefined {
    this.#begins?.giveUp.abort(
      new TestTimeoutError(`The begin of the transaction of ${this.#begins.name} was given up.`),
    );
    const ended = this.current;
    this.#running = undefined;
    return ended;
  }

  async #run(begin: Begin, test: RunnerTest | undefined): Promise<void> {
    const { signal } = begin.giveUp;
    try {
      const transaction = await this.#options.begin(test, signal);
      if (signal.aborted) {
        await transaction.end();
      } else {
        this.#running = { test, transaction };
      }
    } finally {
      if (this.#begins === begin) {
        this.#begins = undefined;
      }
    }
  }
}

function whyItHangs(): string {
  return isTickFake()
    ? 'The process.nextTick() of this process is that of a fake clock, and pg answers nothing with it. Have ' +
        'the timers be real again at the end of each test that replaces them (afterEach(() => ' +
        "jest.useRealTimers())), or leave that one out (doNotFake: ['nextTick', 'queueMicrotask', " +
        "'setImmediate', 'clearImmediate'])."
    : 'The server does not answer, or a fake clock has kept its answer from coming.';
}
