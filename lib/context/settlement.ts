import {
  CommitOutcomeUnknownError,
  PartialCommitError,
  UnexpectedRollbackError,
  type DbContextError,
  type SettlementOutcome,
} from '../errors.js';
import type { Session } from '../session/session.js';
import { FlushRounds } from './flush-rounds.js';
import type { ShutReason } from '../transaction/transaction-state.js';
import type { Transaction } from '../transaction/transaction.js';

/** The sessions that are to be committed together. */
export interface SessionGroup {
  /** Those that are open now, in the order of their first use; a flush may add to them. */
  list(): readonly Session[];
  /**
   * Called before each flush.
   *
   * @returns what runs before the commit and has not run yet, if anything
   * @throws why nothing can be committed
   */
  beforeFlush?(): Promise<void> | undefined;
  /**
   * Called, synchronously, right before the gates shut.
   *
   * @returns why nothing can be committed, if nothing can
   */
  shutAll?(): DbContextError | undefined;
  /**
   * Shuts the gate of a session, synchronously.
   *
   * @returns why it cannot be committed, if it cannot
   */
  shut(session: Session): DbContextError | undefined;
}

/** What has come of sessions that were to be committed together. */
export interface Settlement {
  /** How each session ended, in the order of their commits. */
  readonly outcomes: readonly SettlementOutcome[];
  /** Why not all of them are committed; a fact of its own, since anything can be thrown. */
  readonly failure: { readonly error: unknown } | undefined;
}

/**
 * What a commit is to save, fixed when it begins: a session that a branch closes, rolls back or takes
 * out of its context meanwhile is missed, rather than left out in silence (S1, M1).
 */
export class CommitPlan {
  /** The transactions that have to be committed. */
  readonly #transactions = new Map<Session, Transaction>();

  constructor(sessions: readonly Session[]) {
    sessions.forEach((session) => this.add(session));
  }

  /** Adds a session, if it has work; its transaction is kept from the first time. */
  add(session: Session): void {
    const known = this.#transactions.get(session);
    if (session.hasWork && (known === undefined || known.outcome === 'committed')) {
      this.#transactions.set(session, session.transaction);
    }
  }

  /** Why `sessions`, which are open now, are not what was to be committed, if they are not. */
  blockerFor(sessions: readonly Session[]): DbContextError | undefined {
    for (const [session, transaction] of this.#transactions) {
      const isMissing = !sessions.includes(session) || session.transaction !== transaction;
      if (isMissing && transaction.outcome !== 'committed') {
        return new UnexpectedRollbackError(session.place, 'ended-meanwhile');
      }
    }
    return undefined;
  }
}

/**
 * Commits sessions as one, as far as separate databases can be: each step is taken on all of them
 * before the next one on any (M1), so what can fail without a COMMIT has failed by then. All are
 * ended, also when one fails.
 */
export async function commitSessions(group: SessionGroup, plan: CommitPlan): Promise<Settlement> {
  let sessions: readonly Session[] | undefined;
  try {
    const rounds = new FlushRounds();
    let due: Session | undefined;
    do {
      const hooks = group.beforeFlush?.();
      if (hooks !== undefined) {
        await hooks;
        rounds.codeRan();
      }
      due = rounds.next(group.list());
      if (due !== undefined) {
        plan.add(due);
        await rounds.flush(due);
      }
    } while (due !== undefined);
    // All gates shut in one go (F3), without an await between them, or since nothing was left to flush.
    sessions = group.list();
    const unfinished = group.shutAll?.();
    const missing = plan.blockerFor(sessions);
    const blockers = sessions.map((session) => group.shut(session));
    const blocker = blockers.find((each) => each !== undefined) ?? missing ?? unfinished;
    if (blocker !== undefined) {
      throw blocker;
    }
  } catch (error) {
    group.shutAll?.();
    const open = sessions ?? group.list();
    const outcomes = open.map(outcomeOfRollback);
    await closeSessions(open);
    return { outcomes, failure: { error } };
  }
  // Awaited here: a promise that an async function returns as it is takes three turns more.
  return await completeSessions(sessions);
}

async function completeSessions(sessions: readonly Session[]): Promise<Settlement> {
  const transactions = sessions.map(({ transaction }) => transaction);
  const outcomes: SettlementOutcome[] = [];
  let failing: Session | undefined;
  try {
    for (const session of sessions) {
      failing = session;
      const outcome = await session.complete();
      outcomes.push({ connectionName: session.connectionName, outcome });
    }
    return { outcomes, failure: undefined };
  } catch (error) {
    const { connectionName, place } = failing!;
    const committed = transactions.filter((_, index) => outcomes[index]?.outcome === 'committed');
    const isUnknown = error instanceof CommitOutcomeUnknownError;
    outcomes.push({ connectionName, outcome: isUnknown ? 'unknown' : 'rolled-back' });
    const rest = sessions.slice(outcomes.length);
    outcomes.push(...rest.map(outcomeOfRollback));
    await closeSessions(rest);
    return (await haveSaved(committed))
      ? { outcomes, failure: { error: new PartialCommitError(outcomes, error, place) } }
      : { outcomes: outcomes.map(withoutCommit), failure: { error } };
  }
}

/** Nothing of it is saved, as by a rollback, so its hooks follow the rest of the context (C5). */
function withoutCommit(each: SettlementOutcome): SettlementOutcome {
  return each.outcome === 'committed' ? { ...each, outcome: 'rolled-back' } : each;
}

/** Whether anything is saved by the commits of transactions: of one that has only read there is nothing. */
async function haveSaved(committed: readonly Transaction[]): Promise<boolean> {
  for (const transaction of committed) {
    if (await transaction.mayHaveWritten()) {
      return true;
    }
  }
  return false;
}

/**
 * Rolls back and closes all sessions, also where another one fails (M2).
 *
 * @param reason why what is under way in them comes to nothing, for messages
 * @throws the first error, after all have been attempted
 */
export async function closeSessions(
  sessions: readonly Session[],
  reason?: ShutReason,
): Promise<void> {
  // All gates first (F3): the end of one session may take a while, and the next would go on meanwhile.
  sessions.forEach(({ transaction }) => transaction.shut(reason));
  await forEach(sessions, (session) => session.close());
}

/**
 * Rolls all sessions back and keeps them usable, see {@link closeSessions}. The caller
 * reports to their observers, when all are rolled back.
 */
export async function rollbackSessions(sessions: readonly Session[]): Promise<void> {
  await forEach(sessions, (session) => session.rollbackInSilence());
}

async function forEach(
  sessions: readonly Session[],
  end: (session: Session) => Promise<void>,
): Promise<void> {
  const errors: unknown[] = [];
  for (const session of sessions) {
    try {
      await end(session);
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) {
    throw errors[0];
  }
}

function outcomeOfRollback({ connectionName, hasBegun }: Session): SettlementOutcome {
  return { connectionName, outcome: hasBegun ? 'rolled-back' : 'untouched' };
}
