import { SqlReader } from '../postgresql/sql-reader.js';

/** What goes on a number that the scanner divides: `.5`, `e10`, `x1F`. */
const REST_OF_NUMBER = /^[.\w]/;
/**
 * Text without `E` in which a backslash stands before a quote. Where `standard_conforming_strings` is off, which
 * a text does not show, that quote is part of the value, and no quote behind it is what it seems to be.
 */
const MAY_GO_ON = /^(?:[uU]&)?'(?:.*[^\\])?(?:\\\\)*\\'/s;

/**
 * A text of SQL without its values: MikroORM writes them into the text, so that what was a parameter is a
 * literal there. Each literal becomes a question mark, and comments are left out; names, keywords (also
 * `true`, `false` and `null`) and placeholders stay. Where it is uncertain at which quote a literal ends, all
 * that follows is left out as well.
 *
 * @example
 * ```ts
 * maskedSql("select * from note where text = 'secret' and id < 5");
 * // select * from note where text = ? and id < ?
 * ```
 */
export function maskedSql(sql: string): string {
  const reader = new SqlReader(sql);
  let masked = '';
  let writtenTo = 0;
  let numberEnd = -1;
  const setting = new SettingReader();
  while (reader.next()) {
    const { start, end, kind } = reader;
    if (kind === 'literal' && MAY_GO_ON.test(reader.text)) {
      return `${masked}${sql.slice(writtenTo, start)}?`.trim();
    }
    const isMore = numberEnd === start && REST_OF_NUMBER.test(reader.text);
    const isValue = setting.isValue(reader);
    if (isMore || isValue || kind === 'literal' || kind === 'unfinished' || kind === 'comment') {
      masked += sql.slice(writtenTo, start) + (isMore || kind === 'comment' ? '' : '?');
      writtenTo = end;
      numberEnd = isMore || /^\d/.test(reader.text) ? end : -1;
    }
  }
  return (masked + sql.slice(writtenTo)).trim();
}

/**
 * Finds the values of SET, which need no quotes: `set local app.user to secret`, `set role secret`. In ALTER (of
 * a role, a database) and CREATE (of a function) SET is in the midst; all words that follow a value there are
 * taken for it. See https://www.postgresql.org/docs/current/sql-set.html
 */
class SettingReader {
  #state: 'begin' | 'definition' | 'other' | 'name' | 'value' = 'begin';
  /** The token before, within the name of a setting. */
  #before = '';

  /** Whether the current token is one; is asked for each token in order. */
  isValue(reader: SqlReader): boolean {
    const { kind, text } = reader;
    if (kind === 'comment') {
      return false;
    }
    if (text === ';') {
      this.#state = 'begin';
    } else if (this.#state === 'begin') {
      this.#state = stateAfter(kind === 'word' ? reader.word : '');
    } else if (this.#state === 'definition') {
      this.#state = kind === 'word' && reader.word === 'set' ? 'name' : 'definition';
    } else if (this.#state === 'name') {
      this.#state = stateInName(reader, this.#before);
    } else if (this.#state === 'value') {
      // `set role to secret` is `set role secret`.
      return !isEquals(reader) && (kind === 'word' || kind === 'name');
    }
    this.#before = kind === 'word' ? reader.word : text;
    return false;
  }
}

function stateAfter(firstWord: string): 'name' | 'definition' | 'other' {
  if (firstWord === 'alter' || firstWord === 'create') {
    return 'definition';
  }
  return firstWord === 'set' ? 'name' : 'other';
}

/** What a value follows without a sign between them, by the last words before it. */
const BEFORE_A_VALUE = /(?:^| )(?:role|names)$|^time zone$|^session authorization$/;

function stateInName(reader: SqlReader, before: string): 'name' | 'value' | 'other' {
  if (isEquals(reader)) {
    return 'value';
  }
  if (reader.kind !== 'word' || before === '.') {
    return 'name';
  }
  if (reader.word === 'constraints') {
    return 'other';
  }
  return BEFORE_A_VALUE.test(`${before} ${reader.word}`) ? 'value' : 'name';
}

function isEquals(reader: SqlReader): boolean {
  return reader.text === '=' || (reader.kind === 'word' && reader.word === 'to');
}
