import { StreamRefusedError, type ErrorPlace } from '../errors.js';
import { cursorRefusal } from '../postgresql/cursor-query.js';
import type { StatementResult } from './kysely-shapes.js';

/**
 * Refuses a stream that would hold all of its rows in memory, since there is no cursor for its statement.
 *
 * @param isHeld whether the cursor is in no transaction
 * @throws {@link StreamRefusedError}
 */
export function assertTakesCursor(place: ErrorPlace, sql: string, isHeld: boolean): void {
  const reason = cursorRefusal(sql, isHeld);
  if (reason !== undefined) {
    throw new StreamRefusedError(place, reason);
  }
}

/** Reads a cursor to its end, some rows at a time. */
export async function* readCursor(
  cursor: string,
  chunkSize: number,
  run: (sql: string) => Promise<StatementResult>,
): AsyncIterableIterator<StatementResult> {
  for (;;) {
    const chunk = await run(`fetch forward ${chunkSize} from ${cursor}`);
    if (chunk.rows.length > 0) {
      yield chunk;
    }
    if (chunk.rows.length < chunkSize) {
      return;
    }
  }
}
