import { classOf, DIGIT, isNewLine, isOfWord, LETTER, OPERATOR, SPACE } from './sql-characters.js';

/** What a piece of SQL text is. */
export type SqlTokenKind =
  /** A keyword or a name that is not quoted. */
  | 'word'
  /** A name in double quotes. */
  | 'name'
  /** A number, or text in single quotes or between dollar signs. */
  | 'literal'
  /** `$1` */
  | 'placeholder'
  /** Signs that form an operator, such as `<=`. */
  | 'operator'
  /** One other sign, such as `(` or `;`. */
  | 'sign'
  | 'comment'
  /** Quoted text or a comment that does not end, up to the end of the whole text. */
  | 'unfinished';

const QUOTE = 0x27;
const DOUBLE_QUOTE = 0x22;
const DOLLAR = 0x24;
const BACKSLASH = 0x5c;

/**
 * Reads SQL text as the scanner of PostgreSQL divides it, in one pass from left to right: the time is
 * proportional to the length of the text. It is the only place that knows what is quoted, and what is a
 * comment. A backslash means something in `E'...'` alone, as `standard_conforming_strings` has it by
 * default. See https://www.postgresql.org/docs/current/sql-syntax-lexical.html
 *
 * @example
 * ```ts
 * const reader = new SqlReader(sql);
 * while (reader.next()) {
 *   if (reader.kind === 'word' && reader.word === 'into') {
 *     return true;
 *   }
 * }
 * ```
 */
export class SqlReader {
  /** What the current token is. */
  kind: SqlTokenKind = 'sign';
  /** Where the current token begins. */
  start = 0;
  /** Where it ends: the position behind its last character. */
  end = 0;
  readonly #sql: string;

  constructor(sql: string) {
    this.#sql = sql;
  }

  /** The first character of the current token. */
  get first(): string {
    return this.#sql[this.start] ?? '';
  }

  /** The current token as it stands in the text. */
  get text(): string {
    return this.#sql.slice(this.start, this.end);
  }

  /**
   * The current word as the server understands it: in small letters, those beyond ASCII as they are.
   * Words of other scripts than the Latin one thus never become keywords.
   */
  get word(): string {
    const { text } = this;
    return /[A-Z]/.test(text)
      ? text.replaceAll(/[A-Z]+/g, (letters) => letters.toLowerCase())
      : text;
  }

  /** Goes on to the next token. @returns whether there is one */
  next(): boolean {
    const sql = this.#sql;
    let at = this.end;
    while (classOf(sql.charCodeAt(at)) === SPACE) {
      at++;
    }
    if (at >= sql.length) {
      return false;
    }
    this.start = at;
    const code = sql.charCodeAt(at);
    if (code === QUOTE) {
      this.#takeQuoted('literal', "'", at);
    } else if (code === DOUBLE_QUOTE) {
      this.#takeQuoted('name', '"', at);
    } else if (code === DOLLAR) {
      this.#takeDollar(at);
    } else {
      this.#takeUnquoted(at, classOf(code));
    }
    return true;
  }

  /** Goes on to the next token that is no comment. @returns whether there is one */
  nextMeaningful(): boolean {
    while (this.next()) {
      if (this.kind !== 'comment') {
        return true;
      }
    }
    return false;
  }

  #take(kind: SqlTokenKind, end: number): void {
    this.kind = kind;
    this.end = end;
  }

  #takeUnquoted(at: number, is: number): void {
    if (is === LETTER) {
      this.#takeWord(at);
    } else if (is === DIGIT) {
      this.#take('literal', this.#endOfRun(at, DIGIT));
    } else if (is !== OPERATOR) {
      this.#take('sign', at + 1);
    } else if (this.#sql.startsWith('--', at)) {
      this.#take('comment', this.#endOfLine(at));
    } else if (this.#sql.startsWith('/*', at)) {
      this.#takeBlockComment(at);
    } else {
      this.#take('operator', this.#endOfOperator(at));
    }
  }

  #takeWord(at: number): void {
    const sql = this.#sql;
    let end = at + 1;
    while (isOfWord(sql.charCodeAt(end))) {
      end++;
    }
    const isOneLetter = end === at + 1;
    if (isOneLetter && /[eE]/.test(sql[at]!) && sql.charCodeAt(end) === QUOTE) {
      this.#takeEscaped(end);
    } else if (isOneLetter && /[uU]/.test(sql[at]!) && /&['"]/.test(sql.slice(end, end + 2))) {
      const isName = sql.charCodeAt(end + 1) === DOUBLE_QUOTE;
      this.#takeQuoted(isName ? 'name' : 'literal', isName ? '"' : "'", end + 1);
    } else {
      this.#take('word', end);
    }
  }

  /** Text or a name in which a quote is written as two. */
  #takeQuoted(kind: SqlTokenKind, quote: string, at: number): void {
    let end = this.#sql.indexOf(quote, at + 1);
    while (end !== -1 && this.#sql[end + 1] === quote) {
      end = this.#sql.indexOf(quote, end + 2);
    }
    if (end === -1) {
      this.#take('unfinished', this.#sql.length);
    } else {
      this.#take(kind, end + 1);
    }
  }

  /** `E'...'`, and what goes on in a later line, where backslashes have their meaning as well. */
  #takeEscaped(at: number): void {
    const sql = this.#sql;
    for (let index = at + 1; index < sql.length; index++) {
      const code = sql.charCodeAt(index);
      if (code === BACKSLASH) {
        index++;
      } else if (code === QUOTE) {
        if (sql.charCodeAt(index + 1) === QUOTE) {
          index++;
          continue;
        }
        const more = this.#continuation(index + 1);
        if (more === -1) {
          this.#take('literal', index + 1);
          return;
        }
        index = more;
      }
    }
    this.#take('unfinished', sql.length);
  }

  /** Where text goes on that has ended in an earlier line, or -1. */
  #continuation(from: number): number {
    const sql = this.#sql;
    let hasNewLine = false;
    for (let at = from; at < sql.length; at++) {
      if (sql.startsWith('--', at)) {
        at = this.#endOfLine(at);
      }
      const code = sql.charCodeAt(at);
      if (code === QUOTE && hasNewLine) {
        return at;
      }
      if (classOf(code) !== SPACE) {
        return -1;
      }
      hasNewLine ||= isNewLine(code);
    }
    return -1;
  }

  /** A placeholder, text between dollar signs, or a dollar sign that means nothing. */
  #takeDollar(at: number): void {
    const sql = this.#sql;
    if (classOf(sql.charCodeAt(at + 1)) === DIGIT) {
      this.#take('placeholder', this.#endOfRun(at + 1, DIGIT));
      return;
    }
    let end = at + 1;
    if (classOf(sql.charCodeAt(end)) === LETTER) {
      while (sql.charCodeAt(end) !== DOLLAR && isOfWord(sql.charCodeAt(end))) {
        end++;
      }
    }
    if (sql.charCodeAt(end) !== DOLLAR) {
      this.#take('sign', at + 1);
      return;
    }
    const delimiter = sql.slice(at, end + 1);
    const close = sql.indexOf(delimiter, end + 1);
    if (close === -1) {
      this.#take('unfinished', sql.length);
    } else {
      this.#take('literal', close + delimiter.length);
    }
  }

  /** Comments of PostgreSQL lie inside of one another. */
  #takeBlockComment(at: number): void {
    const sql = this.#sql;
    let depth = 1;
    for (let index = at + 2; index < sql.length; index++) {
      if (sql.startsWith('/*', index)) {
        depth++;
        index++;
      } else if (sql.startsWith('*/', index)) {
        depth--;
        index++;
        if (depth === 0) {
          this.#take('comment', index + 1);
          return;
        }
      }
    }
    this.#take('unfinished', sql.length);
  }

  #endOfRun(at: number, is: number): number {
    let end = at;
    while (classOf(this.#sql.charCodeAt(end)) === is) {
      end++;
    }
    return end;
  }

  /** A comment may follow an operator without a space. */
  #endOfOperator(at: number): number {
    const sql = this.#sql;
    let end = at;
    while (
      classOf(sql.charCodeAt(end)) === OPERATOR &&
      !sql.startsWith('--', end) &&
      !sql.startsWith('/*', end)
    ) {
      end++;
    }
    return end;
  }

  #endOfLine(at: number): number {
    let end = at;
    while (end < this.#sql.length && !isNewLine(this.#sql.charCodeAt(end))) {
      end++;
    }
    return end;
  }
}
