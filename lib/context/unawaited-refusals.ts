import type { FaultReporter } from '../connection/fault-reporter.js';
import { DbContextError } from '../errors.js';

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

/** How long the fate of unfinished work may take to reach the promise that nobody handles, in milliseconds. */
const LISTENING_MS = 1_000;

// Keys that copies of this library in one process share.
const REFUSAL = Symbol.for('nestjs-db-context:refusal');
const IS_OURS = Symbol.for('nestjs-db-context:rejection-listener');

/**
 * Reports refusals that nobody handles, in place of Node, which would end the process for them (S5).
 *
 * Whether a rejection is handled, only the event `unhandledRejection` of the process says: between a refusal
 * and the code that could await it are async functions of MikroORM, of Kysely and of the application. So a
 * refusal, and the end of a context with unfinished work, listen to it for a second, and no longer.
 * Rejections of others are left to the listeners of the application and, where it has none, to Node.
 */
export class UnawaitedRefusals {
  readonly #report: FaultReporter;
  readonly #unawaited = new Map<Place, Unawaited>();
  #listening: NodeJS.Timeout | undefined;
  /** The context whose unfinished work the end has refused last. */
  #ended: Place | undefined;
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
    this.#listen();
  }

  /** A context ends with work that may not be finished, and that its end refuses. */
  endsUnfinished(place: Place): void {
    this.#ended = place;
    this.#listen();
  }

  #listen(): void {
    if (this.#listening === undefined) {
      process.on('unhandledRejection', this.#listener);
      this.#listening = setTimeout(() => this.#stop(), LISTENING_MS).unref();
    } else {
      this.#listening.refresh();
    }
  }

  #onUnhandled(reason: unknown): void {
    const refusal = refusalOf(reason) ?? this.#refusalByEnd(reason);
    if (refusal === undefined) {
      leaveToNode(reason, this.#listener);
    } else if (refusal.owner === this) {
      if (this.#unawaited.size === 0) {
        // Node tells of the unhandled rejections of a turn before this is called.
        setImmediate(() => this.#reportAll());
      }
      const known = this.#unawaited.get(refusal.place);
      if (known === undefined) {
        this.#unawaited.set(refusal.place, { first: reason, count: 1 });
      } else {
        known.count++;
      }
    }
  }

  /** What the end of a context has refused in the midst of it has an error of the library, too. */
  #refusalByEnd(reason: unknown): Refusal | undefined {
    return this.#ended !== undefined && reason instanceof DbContextError
      ? { owner: this, place: this.#ended }
      : undefined;
  }

  #stop(): void {
    this.#listening = undefined;
    this.#ended = undefined;
    process.off('unhandledRejection', this.#listener);
  }

  #reportAll(): void {
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
