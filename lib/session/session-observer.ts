import type { Holder } from '../connection/claim.js';
import type { UnexpectedRollbackError } from '../errors.js';
import type { TransactionSettings } from '../postgresql/transaction-settings.js';
import type { OwnedWork } from './owned-work.js';

/** A session, as the unit of work that it is part of knows it. */
interface ObservedSession {
  readonly connectionName: string;
  /** Whether there is something to commit. */
  readonly hasWork: boolean;
}

/** What a session reports its ends to. */
export interface SessionObserver {
  /**
   * Asked before an end by hand.
   *
   * @throws {@link UnexpectedRollbackError} a commit must not succeed
   * @throws {@link InvalidTransactionStateError} something else is about to end the session
   */
  assertMayEnd(session: ObservedSession, verb: 'commit' | 'rollback'): void;
  /** Why a commit must not succeed, although no commit has failed before; asked as the gate shuts. */
  blockerOf(session: ObservedSession): UnexpectedRollbackError | undefined;
  /** Whether {@link SessionObserver.beforeCommit} would call anything of the application. */
  callsBefore(session: ObservedSession): boolean;
  /** Whether a hook of its own waits that {@link SessionObserver.beforeCommit} would run. */
  awaitsHook(session: ObservedSession): boolean;
  /** Called before the flush of a commit. */
  beforeCommit(session: ObservedSession): Promise<void> | undefined;
  committed(session: ObservedSession): Promise<void>;
  /** A transaction beside its own may have ended, of `requires_new`. Never throws. */
  besideEnded(session: ObservedSession): Promise<void> | undefined;
  rolledBack(session: ObservedSession): Promise<void>;
  /** Somebody has asked for a rollback, which also undoes what a commit that failed has left behind. */
  undone(session: ObservedSession): void;
  /** A commit of its own has failed, and what was to be committed is gone. */
  commitFailed(session: ObservedSession, error: unknown): void;
}

/** The unit of work that takes over what is begun beside the transactions of its sessions (W3). */
export interface SessionOwner {
  /** @throws {@link SessionClosedError} it has ended */
  own(connectionName: string, work: OwnedWork): void;
  /** Whether no other session has taken the place of one, which would end it. */
  holds(session: ObservedSession): boolean;
}

/** How a session is made. */
export interface SessionOptions {
  /** Win over those of the connection. */
  readonly settings?: TransactionSettings | undefined;
  /** The unit of work that it is part of. */
  readonly holder?: Holder | undefined;
  /** Takes over work beside its transaction. */
  readonly owner?: SessionOwner | undefined;
}
