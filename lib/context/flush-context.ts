import { setAmbientAside } from '../session/ambient.js';
import { hasChanges } from '../session/changes.js';
import { isFlushUnderWay } from '../session/flush-turns.js';
import type { Session } from '../session/session.js';
import type { Context } from './context.js';

/**
 * Flushes all sessions of a context, as a `flush()` in each of them would, and goes on (S3). Nothing is
 * written where the commit of the context will be refused, which has a reason of its own to give.
 *
 * @returns `undefined` where there is nothing to be written; the promise fails with what a flush throws
 */
export function flushContext(context: Context): Promise<void> | undefined {
  if (context.isClosed || !context.ends.refusesNothing) {
    return undefined;
  }
  const due = context.sessions.filter(isDue);
  return due.length === 0 ? undefined : flushEach(due);
}

function isDue({ manager, transaction }: Session): boolean {
  // What cannot be written is found by the commit, so that reading many entities costs no second look.
  const mayWrite = transaction.failure === undefined && !transaction.isReadOnly;
  return mayWrite && (isFlushUnderWay(manager) || hasChanges(manager));
}

async function flushEach(sessions: readonly Session[]): Promise<void> {
  for (const { manager } of sessions) {
    await setAmbientAside(manager, () => manager.flush());
  }
}
