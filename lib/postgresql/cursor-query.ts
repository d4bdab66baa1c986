import type { StreamRefusalReason } from '../errors.js';
import { SqlReader } from './sql-reader.js';

const QUERIES = new Set(['select', 'values', 'table', 'with']);
const WRITES = new Set(['insert', 'update', 'delete', 'merge']);
/** What follows FOR where it locks rows. */
const LOCKS = new Set(['update', 'share', 'no', 'key']);

/**
 * Why a statement cannot be read through a cursor of the server; `undefined` where its text shows nothing
 * that forbids it, and the server has the last word. See
 * https://www.postgresql.org/docs/current/sql-declare.html
 *
 * @param isHeld whether the cursor is one WITH HOLD, which locks no rows
 */
export function cursorRefusal(sql: string, isHeld: boolean): StreamRefusalReason | undefined {
  const reader = new SqlReader(sql);
  const query = new Query();
  while (reader.nextMeaningful()) {
    const refusal = query.add(tokenOf(reader));
    if (refusal !== undefined && (isHeld || refusal !== 'locks-rows')) {
      return refusal;
    }
  }
  return query.isEmpty ? 'no-query' : undefined;
}

/** Words and signs as they are understood; what is quoted is never a keyword. */
function tokenOf(reader: SqlReader): string {
  switch (reader.kind) {
    case 'word':
      return reader.word;
    case 'sign':
      return reader.first;
    default:
      return '';
  }
}

/** What is known of a query as its tokens come. */
class Query {
  #isOver = false;
  #last: string | undefined;
  #beforeLast: string | undefined;
  /** For each open parenthesis, and for the whole: whether a WITH has begun whose main query is to come. */
  readonly #isAfterWith = [false];
  isEmpty = true;

  /** @returns why there is no cursor, where this token shows it */
  add(token: string): StreamRefusalReason | undefined {
    const refusal = this.#refusalAt(token);
    this.#beforeLast = this.#last;
    this.#last = token;
    return refusal;
  }

  #refusalAt(token: string): StreamRefusalReason | undefined {
    if (token === ';') {
      this.#isOver = true;
    } else if (this.#isOver) {
      return 'several-statements';
    } else if (token === '(') {
      this.#isAfterWith.push(false);
    } else if (token === ')') {
      this.#isAfterWith.pop();
    } else if (this.isEmpty) {
      this.isEmpty = false;
      return this.#begin(token);
    } else {
      return this.#goOn(token);
    }
    return undefined;
  }

  #begin(token: string): StreamRefusalReason | undefined {
    this.#setAfterWith(token === 'with');
    return QUERIES.has(token) ? undefined : 'no-query';
  }

  #goOn(token: string): StreamRefusalReason | undefined {
    if (token === 'into') {
      // Behind AS and behind a dot, every keyword is a name.
      return this.#last === 'as' || this.#last === '.' ? undefined : 'writes';
    }
    if (WRITES.has(token) && (this.#isBodyOfWith || this.#isMainOfWith)) {
      return 'writes';
    }
    if (LOCKS.has(token) && this.#last === 'for') {
      return 'locks-rows';
    }
    if (QUERIES.has(token) && (token !== 'with' || this.#last === '(')) {
      this.#setAfterWith(token === 'with');
    }
    return undefined;
  }

  /** In `with gone as (delete ...`. */
  get #isBodyOfWith(): boolean {
    const before = this.#beforeLast;
    return this.#last === '(' && (before === 'as' || before === 'materialized');
  }

  /** In `with one as (...) delete ...`, but not where it is the name of a part of the WITH. */
  get #isMainOfWith(): boolean {
    const last = this.#last;
    return (
      this.#isAfterWith.at(-1) === true && last !== 'with' && last !== 'recursive' && last !== ','
    );
  }

  #setAfterWith(isAfterWith: boolean): void {
    this.#isAfterWith[this.#isAfterWith.length - 1] = isAfterWith;
  }
}
