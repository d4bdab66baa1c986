import { SqlReader } from './sql-reader.js';

/**
 * What a statement leaves in the session of the server, where it outlives the transaction. `changed` is
 * undone by DISCARD ALL, see https://www.postgresql.org/docs/current/sql-discard.html; what is `lasting` ends
 * with the connection alone.
 */
export type Remains = 'nothing' | 'changed' | 'lasting';

/**
 * Words of texts that may leave something which no command tag shows: functions, and temporary objects. One
 * pass over the text, without a repetition, since every statement is looked at.
 */
const SUSPECT =
  /set_config|advisory_lock|seed\b|dblink_connect|\btemp(?:orary)?\b|pg_temp|pg_settings|replication_(?:slot|origin)|pg_backup_start/i;

/**
 * Functions whose effect DISCARD ALL does not undo: on the seed of `random()`, connections of `dblink`, slots
 * that may be temporary, the replication origin of the session, a backup.
 */
const LASTING =
  /setseed|dblink_connect|(?:create|copy)_(?:physical|logical)_replication_slot|origin_session_setup|pg_backup_start/i;
const SEED = /\bseed\b/i;
const SETS_BY_NAME = /set_config|\bpg_settings\b/i;
const IS_CODE = /\bdo\s*(?:language\s+\w+\s*)?\$/i;
const SETS_SEED_IN_CODE = /\bset\s+(?:(?:local|session)\s+)?"?seed\b/i;
/** In a text without what is quoted, so that a name in quotes is missing. */
const SETS_SEED = /(?:^|;)\s*set\b(?:\s+(?:local|session)\b)?\s*(?:seed\b|=|to\b)/i;
const CHANGES = /advisory_lock|pg_temp|\bupdate\b[^;]*pg_settings/i;
const SET_CONFIG = /set_config/gi;
const CREATES_TEMPORARY =
  /\b(?:create(?:\s+or\s+replace)?|into)\s+(?:(?:local|global)\s+)?temp(?:orary)?\b/gi;
const DROPS_ON_COMMIT = /\bon\s+commit\s+drop\b/gi;
const SETS = /(?:^|;)\s*set\b(\s+(?:local|transaction)\b(?!\s*[.=]))?/gi;
const HOLDS = /\bwith\s+hold\b/i;

/** A longer text is not read through: that it leaves something costs a round trip, and no more. */
const LONGEST_READ = 100_000;
const MOST_CALLS = 100;

/**
 * The name of the cursor by which a stream outside of transactions is read. It is closed when the stream
 * ends, and the client is destroyed where it does not, so nothing of it remains.
 */
export const STREAM_CURSOR = 'db_context_cursor';

/** What a text leaves whose statements have no tag that shows it. In doubt it leaves something. */
export function remainsOf(sql: string): Remains {
  if (!SUSPECT.test(sql)) {
    return 'nothing';
  }
  if (LASTING.test(sql) || setsSeed(sql)) {
    return 'lasting';
  }
  const isChange =
    sql.length > LONGEST_READ || CHANGES.test(sql) || setsConfig(sql) || leavesTemporary(sql);
  return isChange ? 'changed' : 'nothing';
}

/** Whether a text whose tag was SET has set anything beyond its transaction. */
export function setsSession(sql: string): boolean {
  const all = sql.length > LONGEST_READ ? [] : [...bare(sql).matchAll(SETS)];
  return all.length === 0 || all.some(([, local]) => local === undefined);
}

/** Whether a text whose tag was DECLARE CURSOR has declared one that outlives its transaction. */
export function holdsCursor(sql: string): boolean {
  return (
    !sql.startsWith(`declare ${STREAM_CURSOR} `) &&
    (sql.length > LONGEST_READ || HOLDS.test(bare(sql)))
  );
}

/** Whether the seed of `random()` is set as a variable, which has an effect also where it is LOCAL. */
function setsSeed(sql: string): boolean {
  if (!SEED.test(sql)) {
    return false;
  }
  // What is quoted is not read: a name, and the code of DO.
  const isSetInQuotes =
    SETS_BY_NAME.test(sql) || (IS_CODE.test(sql) && SETS_SEED_IN_CODE.test(sql));
  return isSetInQuotes || (sql.length <= LONGEST_READ && SETS_SEED.test(bare(sql)));
}

function leavesTemporary(sql: string): boolean {
  const text = bare(sql);
  const created = text.match(CREATES_TEMPORARY)?.length ?? 0;
  return created > (text.match(DROPS_ON_COMMIT)?.length ?? 0);
}

/** Whether a call of `set_config()` is not known to hold for the transaction alone. */
function setsConfig(sql: string): boolean {
  const all = sql.match(SET_CONFIG)?.length ?? 0;
  return all > MOST_CALLS || all !== localCallsIn(sql);
}

/** How many calls of `set_config()` there are whose last argument is the word `true`. */
function localCallsIn(sql: string): number {
  const reader = new SqlReader(sql);
  let count = 0;
  // In an argument of a call another one may lie, so each has a depth of its own.
  const calls: { depth: number; last: string }[] = [];
  let before = '';
  while (reader.nextMeaningful()) {
    const { kind, text } = reader;
    const call = calls.at(-1);
    if (text === '(' && kind === 'sign') {
      if (before === 'set_config') {
        calls.push({ depth: 0, last: '' });
      } else if (call !== undefined) {
        call.depth++;
        call.last = '(';
      }
    } else if (call !== undefined && text === ')' && kind === 'sign') {
      if (call.depth > 0) {
        call.depth--;
      } else {
        count += call.last === 'true' ? 1 : 0;
        calls.pop();
      }
    } else if (call !== undefined) {
      call.last = text === ',' && call.depth === 0 ? '' : call.last + text.toLowerCase();
    }
    before = kind === 'word' ? reader.word : '';
  }
  return count;
}

/** The text without what is quoted, and without comments. */
function bare(sql: string): string {
  const reader = new SqlReader(sql);
  const pieces: string[] = [];
  while (reader.nextMeaningful()) {
    const { kind, text } = reader;
    if (kind === 'word' || kind === 'sign' || kind === 'operator') {
      pieces.push(text);
    }
  }
  return pieces.join(' ');
}
