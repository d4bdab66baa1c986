import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import { AsyncScope } from '../transaction/async-scope.js';
import { SerialQueue } from '../transaction/serial-queue.js';
import type { SharedParty } from './shared-connection.js';

/** Code that has the real client to itself. */
class LentScope extends AsyncScope {
  readonly turns: Turns;

  constructor(turns: Turns) {
    super();
    this.turns = turns;
  }
}

/** A piece of work that waits for its turn. */
interface Task<T> {
  readonly client: SharedParty;
  /** The error with which it is refused, if it is. */
  readonly refused: () => Error | undefined;
  readonly may: () => boolean;
  readonly run: () => Promise<T>;
}

/** The turns of all that is sent in a shared transaction. */
export class Turns {
  readonly #limitMs: number;
  readonly #refusal: (reason: string) => Error;
  readonly #queue = new SerialQueue();
  #changed = Promise.withResolvers<void>();
  readonly #underWay = new Set<Task<unknown>>();

  /**
   * @param limitMs the longest wait of a transaction for another one, in milliseconds
   * @param refusal makes the error for what a shared transaction cannot show
   */
  constructor(limitMs: number, refusal: (reason: string) => Error) {
    this.#limitMs = limitMs;
    this.#refusal = refusal;
  }

  /** Number of tasks that wait or run. */
  get underWay(): number {
    return this.#underWay.size;
  }

  /** Those of which a task waits or runs. */
  get clients(): readonly SharedParty[] {
    return [...this.#underWay].map(({ client }) => client);
  }

  /** Resolves when a transaction of the application has ended, or no task is left. */
  get changed(): Promise<void> {
    return this.#changed.promise;
  }

  /** A transaction of the application has ended, or all are over: those that wait look again. */
  change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** Runs work after what is under way, whatever its state. */
  next<T>(work: () => Promise<T>): Promise<T> {
    return this.#queue.run(work);
  }

  /** Runs work whose code has the client to itself, and makes what it waits for by mistake an error. */
  lent<T>(work: () => Promise<T>): Promise<T> {
    return new LentScope(this).during(work);
  }

  /**
   * Runs a task as soon as `may()` allows it. Tasks run one at a time, and nothing runs between that
   * check and the task.
   */
  async take<T>(task: Task<T>): Promise<T> {
    this.#underWay.add(task);
    try {
      return await this.#take(task);
    } finally {
      this.#underWay.delete(task);
      if (this.#underWay.size === 0) {
        this.change();
      }
    }
  }

  async #take<T>({ refused, may, run }: Task<T>): Promise<T> {
    const deadline = performance.now() + this.#limitMs;
    if (AsyncScope.innermost(LentScope, ({ turns, isOver }) => turns === this && !isOver)) {
      throw this.#refusal(
        'a unit of work used its session in the callback of withClient(). All of them share one client ' +
          'here, which the callback has to itself. Do that work before or after it.',
      );
    }
    for (;;) {
      const turn = await this.#queue.run(async () => {
        const refusal = refused();
        if (refusal !== undefined) {
          throw refusal;
        }
        return may() ? { result: await run() } : { wait: this.#changed.promise };
      });
      if ('result' in turn) {
        return turn.result;
      }
      const left = deadline - performance.now();
      if (left <= 0 || (await withinLimit(turn.wait, left)) === TIMED_OUT) {
        throw this.#refusal(
          `a transaction waited ${this.#limitMs} ms (acquireTimeoutMs) for another one to end; those ` +
            'that are not inside of one another take turns.',
        );
      }
    }
  }
}
