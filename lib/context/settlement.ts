import {
  CommitOutcomeUnknownError,
  PartialCommitError,
  type SettlementOutcome,
} from '../errors.js';
import type { Session } from '../session/session.js';

/** The sessions that are to be committed together. */
export interface SessionGroup {
  /** Those that are open now, in the order of their first use; a flush may add to them. */
  readonly sessions: readonly Session[];
  /** Told, synchronously, as the gates shut. */
  onShut?(): void;
}

/**
 * Commits sessions as one, as far as separate databases can be: each step is taken on all of them
 * before the next one on any (M1), so what can fail without a COMMIT has failed by then.
 *
 * @param final whether the sessions are closed after a success, too
 * @throws {@link PartialCommitError} one failed after another had been committed (M2)
 * @throws what made the first one fail, when nothing was committed; all are rolled back then
 */
export async function commitSessions(
  group: SessionGroup,
  final = false,
): Promise<readonly SettlementOutcome[]> {
  let sessions: readonly Session[];
  try {
    await flushAll(group);
    // All gates shut in one go, without an await between them.
    ({ sessions } = group);
    group.onShut?.();
    const objections = sessions.map((session) => session.prepare());
    const objection = objections.find((each) => each !== undefined);
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

/** Flushes all, and again those that a flush hook of another one gave work to. */
async function flushAll(group: SessionGroup): Promise<void> {
  const rounds = new Map<Session, number>();
  const isDue = (session: Session): boolean => {
    const round = rounds.get(session) ?? 0;
    return round === 0 || (session.hasPendingChanges && round < FLUSH_ROUNDS);
  };
  for (;;) {
    const next = group.sessions.find(isDue);
    if (next === undefined) {
      return;
    }
    rounds.set(next, (rounds.get(next) ?? 0) + 1);
    await next.flush();
  }
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
