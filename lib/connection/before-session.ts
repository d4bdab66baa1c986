import { AsyncLocalStorage } from 'node:async_hooks';

import {
  BeforeSessionError,
  DbContextError,
  HookTimeoutError,
  InvalidTransactionStateError,
} from '../errors.js';
import { placeOf, type Holder } from './claim.js';
import { TIMED_OUT, withinLimit } from './time-limit.js';

/** One call of a hook, and the call of another hook around it. */
interface Call {
  readonly hook: BeforeSession;
  readonly outer: Call | undefined;
  isOver: boolean;
}

const calls = new AsyncLocalStorage<Call>();

/** The option `beforeSession` of one connection. */
export class BeforeSession {
  readonly #hook: () => void | Promise<void>;
  readonly #connectionName: string;
  readonly #limitMs: number;

  /** @param limitMs longest time that the hook may take, in milliseconds (`acquireTimeoutMs`) */
  constructor(hook: () => void | Promise<void>, connectionName: string, limitMs: number) {
    this.#hook = hook;
    this.#connectionName = connectionName;
    this.#limitMs = limitMs;
  }

  /** Whether the current code was called by the hook, and the hook has not returned yet. */
  get isRunning(): boolean {
    for (let call = calls.getStore(); call !== undefined; call = call.outer) {
      if (call.hook === this && !call.isOver) {
        return true;
      }
    }
    return false;
  }

  /**
   * Calls the hook.
   *
   * @param holder the unit of work that it is called for, which errors name
   * @throws {@link InvalidTransactionStateError} the hook itself uses a session of its connection
   * @throws {@link HookTimeoutError} the hook took too long
   * @throws {@link BeforeSessionError} the hook threw; errors of this library are thrown as they are
   */
  async run(holder: Holder | undefined): Promise<void> {
    if (this.isRunning) {
      throw this.misusedBy(holder);
    }
    const call: Call = { hook: this, outer: calls.getStore(), isOver: false };
    const work = calls.run(call, async () => this.#hook());
    const ended = work.finally(() => {
      call.isOver = true;
    });
    const place = placeOf(this.#connectionName, holder);
    const limitMs = this.#limitMs;
    let answer: unknown;
    try {
      answer = await withinLimit(ended, limitMs);
    } catch (error) {
      throw error instanceof DbContextError ? error : new BeforeSessionError(place, error);
    }
    if (answer === TIMED_OUT) {
      throw new HookTimeoutError('beforeSession', limitMs, 'acquireTimeoutMs', place);
    }
  }

  /** The error that the hook gets when a unit of work of its own uses a session of its connection. */
  misusedBy(holder: Holder | undefined): InvalidTransactionStateError {
    return new InvalidTransactionStateError(
      placeOf(this.#connectionName, holder),
      'beforeSession() used a session of the connection that it is called for, and would have been ' +
        'called for that one, too. Ask the servers on clients of your own, or through a connection ' +
        'of another name.',
    );
  }
}
