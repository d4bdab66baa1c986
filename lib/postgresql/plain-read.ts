import { SqlReader } from './sql-reader.js';

/**
 * Functions, and words that stand before a parenthesis, which neither write nor lock. Any other name
 * is taken for a function that may do either.
 */
const HARMLESS = new Set(
  (
    'all and any array as between by case cast distinct else except exists extract filter from ' +
    'having ilike in inner intersect is join lateral left like limit not null offset on or over ' +
    'partition right select some then union using values when where with within ' +
    'abs age array_agg avg bit_and bit_or bool_and bool_or ceil ceiling char_length character_length ' +
    'coalesce concat concat_ws count current_setting date_part date_trunc dense_rank every first_value floor ' +
    'format generate_series greatest initcap json_agg json_array_elements json_array_length json_build_array ' +
    'json_build_object json_object_agg json_typeof jsonb_agg jsonb_array_elements ' +
    'jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object ' +
    'jsonb_extract_path jsonb_extract_path_text jsonb_object_agg jsonb_typeof lag last_value lead ' +
    'least left length lower lpad ltrim make_date max md5 min mod now ntile nullif octet_length ' +
    'percentile_cont percentile_disc plainto_tsquery position power rank regexp_match ' +
    'regexp_replace repeat replace reverse right round row row_number row_to_json rpad rtrim sign ' +
    'similarity split_part sqrt starts_with stddev string_agg strpos substr substring sum to_char ' +
    'to_date to_json to_jsonb to_number to_tsquery to_tsvector translate trim trunc ts_rank ' +
    'unnest upper variance websearch_to_tsquery width_bucket ' +
    'bit char character decimal float numeric time timestamp timestamptz varbit varchar varying'
  ).split(' '),
);

const QUERIES = new Set(['select', 'with', 'values', 'table']);
/** Besides what writes: `for` belongs to row locks, and `into` makes a table. */
const WRITES = new Set(['insert', 'update', 'delete', 'merge', 'into', 'for']);

/**
 * Length above which a text is no plain read, in characters. What one round trip saves is less than what it
 * takes to read a longer one, and the server takes as long for it again.
 */
export const LONGEST_PLAIN_READ = 65_536;

/** The token before the current one, where it matters. */
type Before = 'other' | 'dot' | 'harmless' | 'callable';

/**
 * Whether a statement can only read, and takes no locks that it would have to keep. In doubt the
 * answer is no: at an unknown name before a parenthesis, a comment, a second statement, a placeholder.
 *
 * The server notices what cannot be seen here (a view that calls a function, an operator of the
 * application): such a read is sent in a transaction that is read-only.
 */
export function isPlainRead(sql: string): boolean {
  if (sql.length > LONGEST_PLAIN_READ) {
    return false;
  }
  const reader = new SqlReader(sql);
  let isQuery = false;
  let before = 'other' as Before;
  while (reader.next()) {
    const { kind } = reader;
    if (kind === 'word' || kind === 'name') {
      const name = kind === 'word' ? reader.word : unquoted(reader.text);
      if (name === undefined || (kind === 'word' && WRITES.has(name))) {
        return false;
      }
      if (!isQuery && !(kind === 'word' && QUERIES.has(name))) {
        return false;
      }
      isQuery = true;
      const isHarmless: boolean = kind === 'word' && before !== 'dot' && HARMLESS.has(name);
      before = isHarmless ? 'harmless' : 'callable';
    } else if (isUnclear(reader, before)) {
      return false;
    } else {
      before = kind === 'sign' && reader.text === '.' ? 'dot' : 'other';
    }
  }
  return isQuery;
}

/** Whether a token that is no word may stand for something that does more than read. */
function isUnclear(reader: SqlReader, before: Before): boolean {
  switch (reader.kind) {
    case 'sign':
      return isUnclearSign(reader.text, before);
    case 'operator':
      return false;
    case 'literal':
      return reader.text.startsWith('$');
    default:
      return true;
  }
}

function isUnclearSign(sign: string, before: Before): boolean {
  return sign === '(' ? before === 'callable' : !SIGNS.has(sign);
}

/** The signs besides parentheses that say nothing about what a statement does. */
const SIGNS = new Set([')', '[', ']', ',', '.', ':']);

/** The name in double quotes; `undefined` where it is written in another way. */
function unquoted(name: string): string | undefined {
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : undefined;
}
