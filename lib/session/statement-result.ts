import type { Answer } from '../connection/lease.js';
import type { StatementResult } from './kysely-shapes.js';

const WRITE_COMMANDS = new Set(['INSERT', 'UPDATE', 'DELETE', 'MERGE']);

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
