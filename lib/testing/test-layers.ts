import { isQuietWithin } from '../connection/quiet-client.js';
import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import type { TestIsolationError } from './errors.js';
import { cancelBackend } from '../postgresql/cancel-request.js';
import type { GuardedTransaction } from './guarded-transaction.js';
import type { RealClientErrors } from './real-client-errors.js';
import type { SharedLevels } from './shared-levels.js';
import { Layer } from './test-layer.js';
import type { Turns } from './turns.js';

/** How long transactions of the application may take to end after their test, in milliseconds. */
const GRACE_MS = 1_000;
/** How long a statement has to be answered at least, in milliseconds, before it is cancelled. */
const LEAST_MS = 50;

/** The end of the time that work gets which is about to end, by `performance.now()`. */
export function graceFromNow(): number {
  return performance.now() + GRACE_MS;
}

/** What the layers of a shared transaction need of it. */
interface LayersOf {
  readonly real: GuardedTransaction;
  readonly levels: SharedLevels;
  readonly turns: Turns;
  /** The longest wait for the answer to a rollback, in milliseconds. */
  readonly endTimeoutMs: number;
  readonly refusal: (reason: string) => TestIsolationError;
  readonly errors: RealClientErrors;
}

/** The layers of one shared transaction: each begins when no transaction of the application is open. */
export class TestLayers {
  readonly #of: LayersOf;
  readonly #all: Layer[] = [new Layer(undefined)];
  /** Whether the server does not answer any more. */
  isStuck = false;

  constructor(of: LayersOf) {
    this.#of = of;
  }

  get outermost(): Layer {
    return this.#all[0]!;
  }

  get innermost(): Layer {
    return this.#all.at(-1)!;
  }

  /**
   * Begins one inside of the innermost one.
   *
   * @throws {@link TestIsolationError} a transaction of the application is still open
   * @throws {@link TestConnectionLostError}
   */
  async enter(): Promise<Layer> {
    const { levels, real, turns, errors } = this.#of;
    await this.#untilNoneIsOpen(graceFromNow());
    return turns.next(async () => {
      if (errors.lost !== undefined) {
        throw errors.lost;
      }
      this.#assertNoneWasOpen(levels.count, 'a test began');
      const layer = new Layer(await real.mark());
      this.#all.push(layer);
      return layer;
    });
  }

  /**
   * Ends a layer, with those inside of it, and undoes what was done in them. Transactions of the application
   * get a moment to end by themselves before, since some responses leave before the commit.
   *
   * @param deadline the end of that moment, by `performance.now()`
   * @param onShut called before that is undone, when nothing of it is awaited any more
   * @throws {@link TestIsolationError} a transaction of the application was still open, or a statement under
   *   way
   */
  async end(
    layer: Layer,
    { deadline, onShut }: { readonly deadline: number; readonly onShut: () => void },
  ): Promise<void> {
    const { levels, real, turns, endTimeoutMs, errors } = this.#of;
    await this.#untilNoneIsOpen(deadline);
    const left = levels.count;
    const underWay = turns.underWay;
    for (const ended of this.#all.splice(this.#all.indexOf(layer))) {
      ended.isOver = true;
      // Those inside of it have nothing left to undo.
      ended.ending ??= Promise.resolve();
      ended.refusedFor = 'it has ended, and this statement came later.';
    }
    onShut();
    const { savepoint, keeping } = layer;
    const undo = async (): Promise<boolean> => {
      const hasOpen = levels.count > 0;
      levels.forget();
      const { lost } = errors;
      if (lost !== undefined) {
        // The server has undone it.
        keeping?.failed(lost);
        return true;
      }
      if (!this.isStuck) {
        await keeping?.commit(real, { hasOpen });
      }
      if (!this.isStuck && real.status !== 'I') {
        await (savepoint === undefined ? real.send(['rollback']) : real.undoTo(savepoint));
      }
      return real.status === (savepoint === undefined ? 'I' : 'T');
    };
    // Both have their turns at once: nothing may begin between them in the layer around.
    const answered = turns.next(() => Promise.resolve());
    const undoing = turns.next(undo).catch(() => false);
    await this.#stopUnless(answered, deadline);
    const undone = await withinLimit(undoing, endTimeoutMs);
    if (undone === TIMED_OUT || !undone) {
      this.refuseAll('what the test before did could not be undone on its connection.');
    }
    this.#assertNoneWasOpen(left, 'the test ended');
    if (underWay > 0) {
      throw this.#of.refusal(
        `${underWay} statement(s) had not been answered when the test ended, and were cancelled. Await the ` +
          'call that sent them.',
      );
    }
  }

  /** A statement that a test left running, as one that timed out, would keep its locks for the next one. */
  async #stopUnless(answered: Promise<void>, deadline: number): Promise<void> {
    const left = Math.max(deadline - performance.now(), LEAST_MS);
    if ((await withinLimit(answered, left)) === TIMED_OUT) {
      await cancelBackend(this.#of.real.client);
    }
  }

  /** The error with which a statement of a layer is refused, if it is. */
  refusalIn({ isOver, refusedFor }: Layer): Error | undefined {
    const { errors, refusal } = this.#of;
    const lost = isOver ? undefined : errors.lost;
    return lost ?? (refusedFor === undefined ? undefined : refusal(refusedFor));
  }

  /**
   * Refuses all that follows where the server awaits the rest of a copy rather than a statement.
   *
   * @param limitMs longest wait for its answers to what was sent, in milliseconds
   */
  async refuseIfStuck(limitMs: number): Promise<void> {
    const { real, errors } = this.#of;
    if (errors.lost === undefined && !(await isQuietWithin(real.client, limitMs))) {
      this.isStuck = true;
      this.refuseAll(
        'the callback of withClient() has returned, and its client was still at work. Await every query, ' +
          'end or destroy every copy, and close every cursor before it returns.',
      );
    }
  }

  /** Lets no statement through any more. */
  refuseAll(reason: string): void {
    this.#all.forEach((layer) => {
      layer.refusedFor = reason;
    });
  }

  /** Waits for transactions of the application that are about to end. */
  async #untilNoneIsOpen(deadline: number): Promise<void> {
    const { levels, turns } = this.#of;
    for (let left = 1; left > 0 && levels.count + turns.underWay > 0;) {
      left = deadline - performance.now();
      await withinLimit(turns.changed, Math.max(left, 1));
    }
  }

  #assertNoneWasOpen(count: number, when: string): void {
    if (count > 0) {
      throw this.#of.refusal(
        `${count} transaction(s) of the application were still open when ${when}. Await the ` +
          'request or the call that opened them, and commit or roll back what begin() of a session or a ' +
          'fork has begun.',
      );
    }
  }
}
