import type { Placed } from '../connection/claim.js';
import type { Answer, Lease } from '../connection/lease.js';
import {
  HostDrainTimeoutError,
  InvalidTransactionStateError,
  SessionClosedError,
  TransactionAbortedError,
  TransactionTimeoutError,
  UnexpectedRollbackError,
  type DbContextError,
  type EndCause,
  type ErrorPlace,
} from '../errors.js';
import type { Outcome } from '../outcome.js';
import type { BeginPlan } from './begin-plan.js';
import type { Server } from './server.js';

/** A failure, as a fact of its own: what was thrown may be anything, also `undefined`. */
export interface Failure {
  readonly error: unknown;
}

/** Why a transaction whose gate shut cannot be committed while statements of it are under way. */
export type ShutReason = 'unawaited-statements' | 'context-ended';

/**
 * Where a transaction stands. Everything that is to be known of it follows from this one value.
 *
 * ```
 * idle ⇄ reading      a read in a transaction of its own, before the first write
 * idle → beginning → open → shut → ending → ended
 *             └────────┴→ broken → shut
 * ```
 */
export type TransactionState =
  /** No statement has been sent. */
  | { readonly tag: 'idle' }
  /** A plain read before the first write is under way, in a transaction of its own; it may wait for its connection. */
  | { readonly tag: 'reading'; readonly lease: Lease | undefined }
  /** Somebody has asked for the first statement; the plan is missing while it is made. */
  | {
      readonly tag: 'beginning';
      readonly plan: BeginPlan | undefined;
      readonly lease: Lease | undefined;
    }
  /** The server has begun it. A failure stays until a rollback to a savepoint undoes it. */
  | {
      readonly tag: 'open';
      readonly plan: BeginPlan;
      readonly lease: Lease;
      readonly failure: Failure | undefined;
    }
  /** No statement can be sent any more, and its connection is gone. */
  | { readonly tag: 'broken'; readonly cause: Failure; readonly hasBegun: boolean }
  /** The gate is shut (F3): only what ends it is sent from here on. */
  | {
      readonly tag: 'shut';
      readonly lease: Lease | undefined;
      readonly hasBegun: boolean;
      readonly blocker: DbContextError | undefined;
    }
  /** COMMIT or ROLLBACK is under way. */
  | { readonly tag: 'ending'; readonly blocker: DbContextError | undefined }
  | {
      readonly tag: 'ended';
      readonly outcome: Outcome;
      readonly blocker: DbContextError | undefined;
      /** Why it was ended under a statement in flight, if it was. */
      readonly killedBy?: Error;
    };

/** Whether statements are let through, as far as the gate is concerned (F3). */
export function isOpen({ tag }: TransactionState): boolean {
  return tag !== 'shut' && tag !== 'ending' && tag !== 'ended';
}

/** Whether a connection was asked for, so that there is something to end. */
export function hasBegun(state: TransactionState): boolean {
  switch (state.tag) {
    case 'idle':
    case 'reading':
      return false;
    case 'beginning':
    case 'open':
    case 'broken':
    case 'ending':
      return true;
    case 'shut':
      return state.hasBegun;
    case 'ended':
      return state.outcome !== 'untouched';
  }
}

/** The client that the transaction holds. */
export function leaseOf(state: TransactionState): Lease | undefined {
  switch (state.tag) {
    case 'reading':
    case 'beginning':
    case 'open':
    case 'shut':
      return state.lease;
    case 'idle':
    case 'broken':
    case 'ending':
    case 'ended':
      return undefined;
  }
}

/** The first failure that nothing has undone. */
export function failureOf(state: TransactionState): Failure | undefined {
  switch (state.tag) {
    case 'open':
      return state.failure;
    case 'broken':
      return state.cause;
    case 'idle':
    case 'reading':
    case 'beginning':
      return undefined;
    case 'shut':
    case 'ending':
    case 'ended':
      return state.blocker && { error: state.blocker.cause ?? state.blocker };
  }
}

/** Why the transaction cannot be committed as it is now (F4). */
export function commitBlockerOf(
  state: TransactionState,
  placed: Placed,
): DbContextError | undefined {
  switch (state.tag) {
    case 'idle':
    case 'reading':
    case 'beginning':
      return undefined;
    case 'open':
      return (
        state.failure &&
        new UnexpectedRollbackError(placed.place, 'failed-statement', state.failure.error)
      );
    case 'broken': {
      const { error } = state.cause;
      if (isTimeout(error) || error instanceof InvalidTransactionStateError) {
        return error;
      }
      const reason = state.hasBegun ? 'connection-lost' : 'failed-statement';
      return new UnexpectedRollbackError(placed.place, reason, error);
    }
    case 'shut':
    case 'ending':
    case 'ended':
      return state.blocker;
  }
}

/**
 * Why a statement is refused in this state; `undefined` where it is not.
 *
 * @param because what has ended the unit of work while its code was running, where that is known
 */
export function refusalOf(
  state: TransactionState,
  placed: Placed,
  because: EndCause | undefined,
): Error | undefined {
  switch (state.tag) {
    case 'idle':
    case 'reading':
    case 'beginning':
    case 'open':
      return undefined;
    case 'broken': {
      const { error } = state.cause;
      return isTimeout(error) ? error : new TransactionAbortedError(placed.place, error);
    }
    case 'shut':
    case 'ending':
    case 'ended':
      // That it took too long says more than that it is over.
      return isTimeout(state.blocker)
        ? state.blocker
        : new SessionClosedError(placed.place, undefined, { because });
  }
}

/** Whether a transaction was ended because it took too long. */
function isTimeout(error: unknown): error is TransactionTimeoutError | HostDrainTimeoutError {
  return error instanceof TransactionTimeoutError || error instanceof HostDrainTimeoutError;
}

/** What a statement fails with that was in flight as its transaction was ended: why it was ended. */
export function outranked(state: TransactionState, error: unknown): unknown {
  const reason = state.tag === 'broken' ? state.cause.error : 'blocker' in state && state.blocker;
  if (isTimeout(reason)) {
    return reason;
  }
  return state.tag === 'ended' && state.killedBy !== undefined ? state.killedBy : error;
}

/** What SQL of the application has done that ended the transaction, by the answer to it. */
export function endedByStatement(
  place: ErrorPlace,
  server: Server,
  answer: Answer,
): InvalidTransactionStateError {
  const [statement, fate] = ENDS[server.wordOfEnd(answer)];
  return new InvalidTransactionStateError(
    place,
    `a plain ${statement} statement ended the transaction, so what it did ${fate}. ${USE_SESSION}`,
  );
}

const ENDS = {
  committed: ['COMMIT', 'stands'],
  'rolled-back': ['ROLLBACK', 'is undone'],
  unclear: ['COMMIT or ROLLBACK', 'may stand'],
} as const;

/** What SQL of the application that has failed may have ended the transaction before that. */
export function mayBeEndedByStatement(
  place: ErrorPlace,
  cause: unknown,
): InvalidTransactionStateError {
  return new InvalidTransactionStateError(
    place,
    'a text with a plain COMMIT or ROLLBACK in it failed, so what it did before its failure may stand' +
      `${cause instanceof Error ? ` (${cause.message})` : ''}. ${USE_SESSION}`,
    cause,
  );
}

const USE_SESSION = 'Use session.commit() or session.rollback() instead.';
