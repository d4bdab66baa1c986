import {
  CommitOutcomeUnknownError,
  PartialCommitError,
  UnexpectedRollbackError,
  type DbContextError,
  type SettlementOutcome,
} from '../errors.js';
import type { TransactionScope } from '../session/scope.js';
import type { Session } from '../session/session.js';

/** The sessions that are to be committed together. */
export interface SessionGroup {
  /** Those that are open now, in the order of their first use; a flush may add to them. */
  readonly sessions: readonly Session[];
  /** Told, synchronously, as the gates shut. */
  onShut?(): void;
}

/**
 * What a commit is to save, fixed when it begins: a session that a branch closes, rolls back or takes
 * out of its context meanwhile is missed, rather than left out in silence (F4, M1).
 */
export class CommitPlan {
  /** The transactions that have to be committed. */
  readonly #scopes = new Map<Session, TransactionScope>();

  readonly #objection: () => DbContextError | undefined;

  /** @param objection finds what forbids the commit, besides the sessions */
  constructor(sessions: readonly Session[], objection: () => DbContextError | undefined) {
    this.#objection = objection;
    sessions.forEach((session) => this.add(session));
  }

  /** Adds a session, if it has work; its transaction is kept from the first time. */
  add(session: Session): void {
    const known = this.#scopes.get(session);
    if (session.hasWork && (known === undefined || known.state === 'committed')) {
      this.#scopes.set(session, session.context.scope);
    }
  }

  /** Why `sessions`, which are open now, cannot be committed as what was planned, if they cannot. */
  objectionTo(sessions: readonly Session[]): DbContextError | undefined {
    const missing = [...this.#scopes].find(
      ([session, scope]) =>
        !sessions.includes(session) ||
        (session.context.scope !== scope && scope.state !== 'committed'),
    );
    return (
      this.#objection() ??
      (missing && new UnexpectedRollbackError(missing[0].connectionName, 'ended-meanwhile'))
    );
  }
}

/**
 * Commits sessions as one, as far as separate databases can be: each step is taken on all of them
 * before the next one on any (M1), so what can fail without a COMMIT has failed by then.
 *
 * @param final whether the sessions are closed after a success, too
 * @throws {@link UnexpectedRollbackError} a session of `plan` was ended by somebody else
 * @throws {@link PartialCommitError} one failed after another had been committed (M2)
 * @throws what made the first one fail, when nothing was committed; all are rolled back then
 */
export async function commitSessions(
  group: SessionGroup,
  plan: CommitPlan,
  final = false,
): Promise<readonly SettlementOutcome[]> {
  let sessions: readonly Session[];
  try {
    const nextDue = flushRounds(group);
    for (let due = nextDue(); due !== undefined; due = nextDue()) {
      plan.add(due);
      await due.flush();
    }
    // All gates shut in one go, without an await between them, or since nothing was left to flush.
    ({ sessions } = group);
    group.onShut?.();
    const objections = sessions.map((session) => session.prepare());
    const objection = plan.objectionTo(sessions) ?? objections.find((each) => each !== undefined);
    if (objection !== undefined) {
      throw objection;
    }
  } catch (error) {
    group.onShut?.();
    await closeSessions(group.sessions);
    throw error;
  }
  return completeSessions(sessions, final);
}

// Hooks that keep giving one another work would go on for ever.
const FLUSH_ROUNDS = 10;

/**
 * Finds the session that is to be flushed next: each one once, and again those that a flush hook of
 * another one gave work to.
 */
function flushRounds(group: SessionGroup): () => Session | undefined {
  const rounds = new Map<Session, number>();
  const isDue = (session: Session): boolean => {
    const round = rounds.get(session) ?? 0;
    return round === 0 || (session.hasPendingChanges && round < FLUSH_ROUNDS);
  };
  return () => {
    const next = group.sessions.find(isDue);
    if (next !== undefined) {
      rounds.set(next, (rounds.get(next) ?? 0) + 1);
    }
    return next;
  };
}

async function completeSessions(
  sessions: readonly Session[],
  final: boolean,
): Promise<readonly SettlementOutcome[]> {
  const outcomes: SettlementOutcome[] = [];
  for (const [index, session] of sessions.entries()) {
    const { connectionName } = session;
    try {
      outcomes.push({ connectionName, outcome: await session.complete(final) });
    } catch (error) {
      const isUnknown = error instanceof CommitOutcomeUnknownError;
      outcomes.push({ connectionName, outcome: isUnknown ? 'unknown' : 'rolled-back' });
      const rest = sessions.slice(index + 1);
      outcomes.push(...rest.map(outcomeOfRollback));
      await closeSessions(rest);
      throw outcomes.some((each) => each.outcome === 'committed')
        ? new PartialCommitError(outcomes, error)
        : error;
    }
  }
  return outcomes;
}

/**
 * Rolls back and closes all sessions, each whatever becomes of the others (M2).
 *
 * @throws the first error, after all have been attempted
 */
export async function closeSessions(sessions: readonly Session[]): Promise<void> {
  await forEach(sessions, (session) => session.close());
}

/**
 * Rolls all sessions back and keeps them usable, see {@link closeSessions}. Their observers are for
 * the caller to tell, when all are rolled back.
 */
export async function rollbackSessions(sessions: readonly Session[]): Promise<void> {
  await forEach(sessions, (session) => session.rollback(false));
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
