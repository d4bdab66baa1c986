import type { PgResult } from './pg-client.js';

/** Quoted text and comments, whose words are no statements; of a block comment only the beginning. */
const WITHOUT_MEANING =
  /\$(\w*)\$[\s\S]*?\$\1\$|\be'(?:[^'\\]|\\[\s\S]|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|\/\*/gi;

/** A statement that ends a transaction, at the beginning of a statement. */
const ENDS =
  /(?:^|;)\s*(?:(?:commit|end|prepare\s+transaction)\b|(?:rollback|abort)\b(?!\s+(?:work\s+|transaction\s+)?to\b))/i;

/**
 * Whether a text has ended the transaction, by the command tags of the answer (F4). The transaction status
 * afterwards does not matter: a text can begin a new transaction. ROLLBACK and ROLLBACK TO SAVEPOINT share
 * a tag, so their text has to distinguish them. See `CommandComplete` in
 * https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
export function isEnd(sql: string, answer: PgResult | PgResult[]): boolean {
  const has = (tag: string): boolean =>
    Array.isArray(answer) ? answer.some(({ command }) => command === tag) : answer.command === tag;
  return has('COMMIT') || has('PREPARE TRANSACTION') || (has('ROLLBACK') && mayHaveEnded(sql));
}

/** Whether a text holds a statement that ends a transaction, if the server comes to it. */
export function mayHaveEnded(sql: string): boolean {
  return ENDS.test(bare(sql));
}

/** The text without what is quoted, and without comments. */
export function bare(sql: string): string {
  let text = '';
  let from = 0;
  for (const { 0: found, index } of sql.matchAll(WITHOUT_MEANING)) {
    if (index >= from) {
      text += `${sql.slice(from, index)} `;
      from = found === '/*' ? endOfComment(sql, index) : index + found.length;
    }
  }
  return text + sql.slice(from);
}

/** Comments of PostgreSQL lie inside of one another. */
function endOfComment(sql: string, start: number): number {
  let depth = 0;
  for (const { 0: mark, index } of sql.slice(start).matchAll(/\/\*|\*\//g)) {
    depth += mark === '/*' ? 1 : -1;
    if (depth === 0) {
      return start + index + mark.length;
    }
  }
  return sql.length;
}
