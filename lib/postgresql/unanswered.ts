import type { PgResult } from './pg-client.js';

const TOKEN = /\/\*|\*\/|--|\n|[^\s;]/g;

/**
 * Whether the server has said that it is ready, and nothing of a statement before that: all but an
 * empty text has a command tag. Each answer after such a one may be that of an earlier statement.
 */
export function isUnanswered(sql: string, answer: PgResult | PgResult[]): boolean {
  const isMissing = Array.isArray(answer)
    ? answer.length === 0 || answer.some(({ command }) => command === null)
    : answer.command === null;
  return isMissing && !isEmpty(sql);
}

/** Whether a text holds nothing but space, semicolons and comments, which lie inside of one another. */
function isEmpty(sql: string): boolean {
  let depth = 0;
  let isInLine = false;
  for (const [token] of sql.matchAll(TOKEN)) {
    if (isInLine || token === '\n') {
      isInLine = token !== '\n';
    } else if (token === '/*') {
      depth++;
    } else if (token === '*/') {
      depth--;
    } else if (depth === 0) {
      if (token !== '--') {
        return false;
      }
      isInLine = true;
    }
  }
  return true;
}
