import type { FaultReporter } from '../connection/db-connection.js';

/** What a statement was refused in, as far as reports name it. */
interface Place {
  readonly origin: string;
}

/** Where a statement was refused that is in no context. */
export const OUTSIDE: Place = { origin: '' };

interface Unawaited {
  readonly first: unknown;
  count: number;
}

const STACK_DEPTH = 60;

// Keys that copies of this library in one process share.
const REFUSAL = Symbol.for('nestjs-db-context:refusal');
const IS_OURS = Symbol.for('nestjs-db-context:rejection-listener');

/**
 * Reports refusals that nobody handles, in place of Node, which would end the process for them (S5).
 *
 * Whether a rejection is handled, only the event `unhandledRejection` of the process says: between a refusal
 * and the code that could await it are async functions of MikroORM, of Kysely and of the application. So a
 * refusal listens to it until the turn of the event loop is over, and no longer. Rejections of others are
 * left to the listeners of the application and, where it has none, to Node.
 */
export class UnawaitedRefusals {
  readonly #report: FaultReporter;
  readonly #unawaited = new Map<Place, Unawaited>();
  #isListening = false;
  readonly #listener: NodeJS.UnhandledRejectionListener;

  constructor(report: FaultReporter) {
    this.#report = report;
    this.#listener = Object.assign((reason: unknown) => this.#onUnhandled(reason), {
      [IS_OURS]: true,
    });
  }

  /** A statement is about to fail with `error`. */
  refused(error: Error, place: Place): void {
    // As deep as the code of the application, which MikroORM's query builders and Kysely stand before.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = STACK_DEPTH;
    Error.captureStackTrace(error);
    Error.stackTraceLimit = stackTraceLimit;
    Object.defineProperty(error, REFUSAL, { value: { owner: this, place } });
    if (!this.#isListening) {
      this.#isListening = true;
      process.on('unhandledRejection', this.#listener);
      // Node tells of the unhandled rejections of a turn before this is called.
      setImmediate(() => this.#stop());
    }
  }

  #onUnhandled(reason: unknown): void {
    const refusal = refusalOf(reason);
    if (refusal === undefined) {
      leaveToNode(reason, this.#listener);
    } else if (refusal.owner === this) {
      const known = this.#unawaited.get(refusal.place);
      if (known === undefined) {
        this.#unawaited.set(refusal.place, { first: reason, count: 1 });
      } else {
        known.count++;
      }
    }
  }

  #stop(): void {
    this.#isListening = false;
    process.off('unhandledRejection', this.#listener);
    for (const [{ origin }, { first, count }] of this.#unawaited) {
      const what =
        count === 1
          ? 'a statement that nobody awaits was'
          : `${count} statements that nobody awaits were`;
      const where = origin === '' ? 'outside of any context' : `in the context of ${origin}`;
      this.#report(`${what} refused ${where}`, first);
    }
    this.#unawaited.clear();
  }
}

interface Refusal {
  readonly owner: UnawaitedRefusals;
  readonly place: Place;
}

function refusalOf(reason: unknown): Refusal | undefined {
  return reason instanceof Error
    ? (reason as { readonly [REFUSAL]?: Refusal })[REFUSAL]
    : undefined;
}

/** Does with a rejection of others what Node does without this listener, under the same flags. */
function leaveToNode(reason: unknown, own: NodeJS.UnhandledRejectionListener): void {
  const listeners = process.listeners('unhandledRejection');
  if (listeners.includes(own) && listeners.every((each) => IS_OURS in each)) {
    listeners.forEach((each) => process.off('unhandledRejection', each));
    void Promise.reject(reason);
  }
}
