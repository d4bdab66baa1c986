import type { PgResult } from './pg-client.js';

/**
 * What may hold any word without meaning it: dollar-quoted bodies, strings, quoted identifiers,
 * comments.
 */
const WITHOUT_MEANING =
  /\$(\w*)\$[\s\S]*?\$\1\$|\be'(?:[^'\\]|\\[\s\S]|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|\/\*[\s\S]*?\*\//gi;

/** Statements that end a transaction, at the beginning of a statement. */
const ENDS =
  /(?:^|;)\s*(?:(commit|end)\b|(rollback|abort)\b(?!\s+(?:work\s+|transaction\s+)?to\b)|(prepare\s+transaction)\b)/i;

/**
 * The statement of a text that ended the transaction, by the command tags of the answer; whatever the
 * transaction status is afterwards, since a text can begin a new one. ROLLBACK and ROLLBACK TO
 * SAVEPOINT share a tag, so their text has to tell them apart. See
 * https://www.postgresql.org/docs/current/protocol-message-formats.html (CommandComplete)
 */
export function endedBy(sql: string, answer: PgResult | PgResult[]): string | undefined {
  const answers = Array.isArray(answer) ? answer : [answer];
  for (const { command } of answers) {
    if (command === 'COMMIT' || (command === 'ROLLBACK' && mayHaveEnded(sql))) {
      return command;
    }
  }
  return undefined;
}

/** Whether a text holds a statement that ends a transaction, if the server comes to it. */
export function mayHaveEnded(sql: string): boolean {
  return ENDS.test(sql.replace(WITHOUT_MEANING, ' '));
}
