import type { PgResult } from './pg-client.js';
import { SqlReader } from './sql-reader.js';

/**
 * Whether a text has ended the transaction, by the command tags of the answer (F4). The transaction status
 * afterwards does not matter: a text can begin a new transaction. ROLLBACK and ROLLBACK TO SAVEPOINT share
 * a tag, so their text has to distinguish them. See `CommandComplete` in
 * https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
export function isEnd(sql: string, answer: PgResult | PgResult[]): boolean {
  return (
    hasTag(answer, 'COMMIT') ||
    hasTag(answer, 'PREPARE TRANSACTION') ||
    (hasTag(answer, 'ROLLBACK') && mayHaveEnded(sql))
  );
}

/** What a text has done that ended the transaction; the server answers COMMIT of a failed one with ROLLBACK. */
export function wordOfEnd(answer: PgResult | PgResult[]): 'committed' | 'rolled-back' | 'unclear' {
  if (hasTag(answer, 'COMMIT')) {
    return 'committed';
  }
  return hasTag(answer, 'ROLLBACK') ? 'rolled-back' : 'unclear';
}

function hasTag(answer: PgResult | PgResult[], tag: string): boolean {
  // Each statement is looked at, and nearly each one has a single answer.
  return Array.isArray(answer)
    ? answer.some(({ command }) => command === tag)
    : answer.command === tag;
}

/** The words that such a statement begins with. Most texts hold none of them, and are not read. */
const WORDS_OF_END = /\b(?:commit|end|prepare|rollback|abort)\b/i;

/** Whether a text holds a statement that ends a transaction, if the server comes to it. */
export function mayHaveEnded(sql: string): boolean {
  if (!WORDS_OF_END.test(sql)) {
    return false;
  }
  const reader = new SqlReader(sql);
  let isFirst = true;
  while (reader.nextMeaningful()) {
    if (isFirst && beginsEnd(reader)) {
      return true;
    }
    // What a look ahead has read may have been the end of the statement.
    isFirst = isSign(reader, ';');
  }
  return false;
}

/** Whether a statement that begins here ends a transaction; reads on as far as it has to. */
function beginsEnd(reader: SqlReader): boolean {
  switch (wordOf(reader)) {
    case 'commit':
    case 'end':
      return true;
    case 'prepare':
      return nextWord(reader) === 'transaction';
    case 'rollback':
    case 'abort': {
      const next = nextWord(reader);
      return (next === 'work' || next === 'transaction' ? nextWord(reader) : next) !== 'to';
    }
    default:
      return false;
  }
}

function nextWord(reader: SqlReader): string | undefined {
  return reader.nextMeaningful() ? wordOf(reader) : undefined;
}

function wordOf(reader: SqlReader): string | undefined {
  return reader.kind === 'word' ? reader.word : undefined;
}

function isSign(reader: SqlReader, sign: string): boolean {
  return reader.kind === 'sign' && reader.first === sign;
}
