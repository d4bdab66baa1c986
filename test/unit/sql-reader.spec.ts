import { cursorRefusal } from '../../lib/postgresql/cursor-query.js';
import { isPlainRead, LONGEST_PLAIN_READ } from '../../lib/postgresql/plain-read.js';
import { SqlReader } from '../../lib/postgresql/sql-reader.js';
import { mayHaveEnded } from '../../lib/postgresql/transaction-end-statements.js';

/** All tokens, each as its kind and its text. */
function tokensOf(sql: string): string[] {
  const reader = new SqlReader(sql);
  const tokens: string[] = [];
  while (reader.next()) {
    tokens.push(`${reader.kind} ${reader.text}`);
  }
  return tokens;
}

describe('the reader of SQL text', () => {
  it.each([
    ['', []],
    [' \t\r\n\f\v', []],
    ['select a.b', ['word select', 'word a', 'sign .', 'word b']],
    [`'it''s; x'`, [`literal 'it''s; x'`]],
    [`'a\\' b`, [`literal 'a\\'`, 'word b']],
    [`E'a\\'b\\\\' b`, [`literal E'a\\'b\\\\'`, 'word b']],
    [`e'a'''`, [`literal e'a'''`]],
    [`e'a'\n -- c\n 'b\\'c'`, [`literal e'a'\n -- c\n 'b\\'c'`]],
    [`e'a' 'b\\'`, [`literal e'a'`, `literal 'b\\'`]],
    [`e'a'\n x`, [`literal e'a'`, 'word x']],
    [`value'x'`, ['word value', `literal 'x'`]],
    [`"a""b"(`, ['name "a""b"', 'sign (']],
    [`u&"a" U&'b\\'`, ['name u&"a"', `literal U&'b\\'`]],
    [`u & "a"`, ['word u', 'operator &', 'name "a"']],
    ['$1+$23', ['placeholder $1', 'operator +', 'placeholder $23']],
    [`$$ ' $a$ $$ x`, [`literal $$ ' $a$ $$`, 'word x']],
    [`$é1$ $$ $é1$`, ['literal $é1$ $$ $é1$']],
    ['a$b$c$b$', ['word a$b$c$b$']],
    ['$a b$', ['sign $', 'word a', 'word b$']],
    ['1.5e3', ['literal 1', 'sign .', 'literal 5', 'word e3']],
    ['a<=-1', ['word a', 'operator <=-', 'literal 1']],
    ['a+--b\rc', ['word a', 'operator +', 'comment --b', 'word c']],
    ['a@/*b*/c', ['word a', 'operator @', 'comment /*b*/', 'word c']],
    ['/* a /* b */ */c', ['comment /* a /* b */ */', 'word c']],
    ['/*/ a */b', ['comment /*/ a */', 'word b']],
    ['größe\u00a0x', ['word größe\u00a0x']],
    [`'a''`, [`unfinished 'a''`]],
    [`e'a\\'`, [`unfinished e'a\\'`]],
    ['"a', ['unfinished "a']],
    ['$a$ $b$', ['unfinished $a$ $b$']],
    ['/* /* */', ['unfinished /* /* */']],
    ['a\0', ['word a', 'sign \0']],
  ])('divides %j as PostgreSQL does', (sql, tokens) => {
    expect(tokensOf(sql)).toEqual(tokens);
  });

  it('makes small letters of those of ASCII alone', () => {
    // The Kelvin sign is a K to `toLowerCase()`, but not to PostgreSQL.
    const reader = new SqlReader('LI\u212AE');
    reader.next();
    expect(reader.word).toBe('li\u212Ae');
  });
});

/** Texts of about `length` characters, each a trap for an expression that goes back. */
const TRAPS: Readonly<Record<string, (length: number) => string>> = {
  'one long text': (length) => `select '${'x'.repeat(length)}'`,
  'one long text with escapes': (length) => `select e'${`\\'`.repeat(length / 2)}'`,
  'quotes in a text': (length) => `select '${`''`.repeat(length / 2)}'`,
  'comments before nothing': (length) => '/**/'.repeat(length / 4),
  'comments in comments that do not end': (length) => '/*'.repeat(length / 2),
  'lines of text that goes on': (length) => `select e''${`\n''`.repeat(length / 3)}`,
  'lines of comments behind a text': (length) => `select e''${'--\n'.repeat(length / 3)}`,
  'text between dollar signs that does not end': (length) => '$a$ '.repeat(length / 4),
  'dollar signs that mean nothing': (length) => `$${'a'.repeat(length)}`,
  'open parentheses': (length) => '('.repeat(length),
  'words and signs': (length) => 'with a, '.repeat(length / 8),
};

describe('what reads SQL text', () => {
  const READERS = {
    isPlainRead,
    mayHaveEnded,
    cursorRefusal: (sql: string) => cursorRefusal(sql, true),
    next: (sql: string) => {
      const reader = new SqlReader(sql);
      while (reader.next());
    },
  };

  function tookMs(read: () => unknown, times = 1): number {
    const startedAt = performance.now();
    for (let time = 0; time < times; time++) {
      read();
    }
    return performance.now() - startedAt;
  }

  it.each(
    Object.keys(TRAPS).flatMap((trap) =>
      Object.keys(READERS).map((reader) => [reader, trap] as const),
    ),
  )('%s takes time in proportion to the length: %s', (reader, trap) => {
    const read = READERS[reader as keyof typeof READERS];
    const [short, long] = [1, 32].map((times) => TRAPS[trap]!(times * 10_000)) as [string, string];
    // What is quadratic takes 32 times as long for one long text as for 32 short ones. Both are measured
    // over the same amount of text, so that both are disturbed as much by what else the machine does.
    let [shortMs, longMs] = [Infinity, Infinity];
    for (let round = 0; round < 5; round++) {
      shortMs = Math.min(
        shortMs,
        tookMs(() => read(short), 32),
      );
      longMs = Math.min(
        longMs,
        tookMs(() => read(long)),
      );
    }
    expect(longMs).toBeLessThan(8 * shortMs + 1);
  });

  it.each(Object.keys(READERS))('%s takes a text of 8 MB', (reader) => {
    for (const text of [`'${'x'.repeat(2 ** 23)}'`, `e'${'\\\\'.repeat(2 ** 22)}'`]) {
      READERS[reader as keyof typeof READERS](`select * from note where text = ${text}`);
    }
  });

  it('a text that is longer than a limit is no plain read', () => {
    const longest = `select '${'x'.repeat(LONGEST_PLAIN_READ - 9)}'`;
    expect(longest).toHaveLength(LONGEST_PLAIN_READ);
    expect(isPlainRead(longest)).toBe(true);
    expect(isPlainRead(`${longest} `)).toBe(false);
  });
});
