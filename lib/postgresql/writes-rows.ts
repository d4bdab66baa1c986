import { SqlReader } from './sql-reader.js';

const WRITES = new Set(['insert', 'update', 'delete', 'merge']);
const BEGINNINGS_OF_PARTS = new Set(['insert into', 'delete from', 'merge into']);

/**
 * Whether SQL text writes rows, as far as it shows: by one of its statements, or by a part of one that begins
 * with `WITH`. See https://www.postgresql.org/docs/current/queries-with.html
 */
export function writesRows(sql: string): boolean {
  const reader = new SqlReader(sql);
  let hasParts = false;
  let before = '';
  let last = ';';
  while (reader.nextMeaningful()) {
    const token = reader.kind === 'word' ? reader.word : reader.first;
    if (last === ';') {
      hasParts = token === 'with';
      if (WRITES.has(token)) {
        return true;
      }
    } else if (hasParts && isParenthesis(before) && beginsPart(last, token, reader)) {
      return true;
    }
    before = last;
    last = token;
  }
  return false;
}

function isParenthesis(token: string): boolean {
  return token === '(' || token === ')';
}

/** Whether two tokens behind a parenthesis begin what writes; a column may be named like the first of them. */
function beginsPart(first: string, second: string, { kind }: SqlReader): boolean {
  return first === 'update'
    ? kind === 'word' || kind === 'name'
    : BEGINNINGS_OF_PARTS.has(`${first} ${second}`);
}
