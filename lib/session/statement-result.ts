import type { Answer } from '../connection/lease.js';
import type { StatementResult } from './kysely-shapes.js';

const WRITE_COMMANDS = new Set(['INSERT', 'UPDATE', 'DELETE', 'MERGE']);
const READS = /^(?:\s|\(|--[^\n]*\n|\/\*[\s\S]*?\*\/)*(?:select|with|values|table)\b/i;
const MAY_WRITE = /\b(?:insert|update|delete|merge|into)\b/i;

/** Whether a statement can be read through a cursor, which takes none that writes, also in a WITH. */
export function takesCursor(sql: string): boolean {
  return READS.test(sql) && !MAY_WRITE.test(sql);
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

/** Kysely's form of an answer. */
export function toStatementResult(answer: Answer): StatementResult {
  // Several statements in one string have several results; like Kysely, none of them is chosen.
  if (Array.isArray(answer)) {
    return { rows: [] };
  }
  const { command, rowCount, rows } = answer;
  return command !== null && WRITE_COMMANDS.has(command)
    ? { numAffectedRows: BigInt(rowCount ?? 0), rows }
    : { rows };
}
