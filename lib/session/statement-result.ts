import type { PgResult } from '../connection/pg-client.js';
import type { StatementResult } from './kysely-shapes.js';

const WRITE_COMMANDS = new Set(['INSERT', 'UPDATE', 'DELETE', 'MERGE']);
const READS = /^(?:\s|\(|--[^\n]*\n|\/\*[\s\S]*?\*\/)*(?:select|with|values|table)\b/i;
const MAY_WRITE = /\b(?:insert|update|delete|merge|into)\b/i;

/** Whether a statement can be read through a cursor, which takes none that writes. */
export function canHaveCursor(sql: string): boolean {
  // Also not inside of a WITH.
  return READS.test(sql) && !MAY_WRITE.test(sql);
}

/** The result of a statement, as Kysely and MikroORM take it. */
export function toStatementResult(result: PgResult | PgResult[]): StatementResult {
  // Several statements in one string have several results; like Kysely, none of them is chosen.
  if (Array.isArray(result)) {
    return { rows: [] };
  }
  const { command, rowCount, rows } = result;
  return command !== null && WRITE_COMMANDS.has(command)
    ? { numAffectedRows: BigInt(rowCount ?? 0), rows }
    : { rows };
}
