import { HARMLESS } from './harmless-functions.js';
import type { HiddenCode } from './hidden-code.js';
import { SqlReader } from './sql-reader.js';

const QUERIES = new Set(['select', 'with', 'values', 'table']);
/** Besides what writes: `for` belongs to row locks, and `into` makes a table. */
const WRITES = new Set(['insert', 'update', 'delete', 'merge', 'into', 'for']);

/**
 * Length above which a text is no plain read, in characters. What one round trip saves is less than what it
 * takes to read a longer one, and the server takes as long for it again.
 */
export const LONGEST_PLAIN_READ = 65_536;

/** The signs besides parentheses that say nothing about what a statement does. */
const SIGNS = new Set([')', '[', ']', ',', '.', ':']);

/**
 * Whether a statement can only read, and takes no locks that it would have to keep. In doubt the
 * answer is no: at an unknown name before a parenthesis, a comment, a second statement, a placeholder.
 *
 * @param hidden the names of the database behind which code may hide; without them, only what the text
 *   shows is judged. The server notices a write all the same, since a plain read is sent in a transaction
 *   that is read-only.
 */
export function isPlainRead(sql: string, hidden?: HiddenCode): boolean {
  if (sql.length > LONGEST_PLAIN_READ) {
    return false;
  }
  const reader = new SqlReader(sql);
  const read = new Read(hidden);
  while (reader.next()) {
    if (!read.takes(reader)) {
      return false;
    }
  }
  return read.hasBegun;
}

/** A read, token by token. */
class Read {
  readonly #hidden: HiddenCode | undefined;
  /** What the last token was, where that matters for the next one. */
  #last: 'dot' | 'unknown name' | undefined;
  hasBegun = false;

  constructor(hidden: HiddenCode | undefined) {
    this.#hidden = hidden;
  }

  /** Whether it may still be a plain read with this token. */
  takes(reader: SqlReader): boolean {
    switch (reader.kind) {
      case 'word':
        return this.#takesWord(reader.word);
      case 'name':
        return reader.first === '"' && this.#takesName(unquoted(reader.text), false);
      case 'sign':
        return this.#takesSign(reader.first);
      case 'operator':
        this.#last = undefined;
        return !this.#mayBeOfApplication(reader.text);
      case 'literal':
        this.#last = undefined;
        return reader.first !== '$';
      default:
        return false;
    }
  }

  #takesWord(word: string): boolean {
    if (WRITES.has(word) || (!this.hasBegun && !QUERIES.has(word))) {
      return false;
    }
    this.hasBegun = true;
    return this.#takesName(word, HARMLESS.has(word));
  }

  #takesName(name: string, isHarmless: boolean): boolean {
    const hidden = this.#hidden;
    const isBehindDot = this.#last === 'dot';
    const isKnown = isHarmless && !isBehindDot && hidden?.functions.has(name) !== true;
    this.#last = isKnown ? undefined : 'unknown name';
    return (
      this.hasBegun &&
      hidden?.relations.has(name) !== true &&
      !(isBehindDot && hidden?.attributes.has(name) === true)
    );
  }

  #takesSign(sign: string): boolean {
    const isCall = sign === '(' && this.#last === 'unknown name';
    this.#last = sign === '.' ? 'dot' : undefined;
    return !isCall && (sign === '(' || SIGNS.has(sign));
  }

  /** Signs that stand together are several operators where one of them is a minus or a plus. */
  #mayBeOfApplication(signs: string): boolean {
    return this.#hidden?.operators.some((operator) => signs.includes(operator)) === true;
  }
}

function unquoted(name: string): string {
  const inner = name.slice(1, -1);
  return inner.includes('"') ? inner.replaceAll('""', '"') : inner;
}
