import { hasChanges } from '../session/changes.js';
import { isFlushUnderWay } from '../session/flush-turns.js';
import type { Session } from '../session/session.js';

/** Whether a session has written something, by the texts of its statements, or would with its next flush. */
export function mayHaveWritten({ manager, transaction }: Session): boolean {
  const isWritten = transaction.hasBegun && !transaction.hasOnlyRead;
  return isWritten || isFlushUnderWay(manager) || hasChanges(manager);
}
