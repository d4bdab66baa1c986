import type { DatabaseContents } from './database-contents.js';
import type { DatabaseHolder } from './database-holder.js';
import type { RunSql } from './database-link.js';
import { quoteIdentifier } from './database-names.js';
import type { FixtureRows } from './fixture-rows.js';

/** The beginning of the comment of each database that the kit has made. */
const BEGINNING = 'nestjs-db-context ';

/** What the comment of a template or of a copy says. Without it, a database is not of the kit. */
export interface DatabaseMark {
  /** The name of the template that the database is, or of which it is a copy. */
  readonly template: string;
  /** Differs between templates that were made one after another under one name. */
  readonly templateId: string;
  /** `kept`: a copy that outlives its worker, see `reuse`. */
  readonly kind: 'template' | 'copy' | 'kept';
  /** Who has a copy; missing where nobody has it since it was given back. */
  readonly holder?: DatabaseHolder;
}

/** A database of the kit and what was in it when it was marked. */
export interface MarkedDatabase {
  readonly mark: DatabaseMark;
  readonly contents: DatabaseContents;
  /** The rows of the template, which every copy has. */
  readonly fixtures: FixtureRows;
}

/** A database that another process may be using. */
export interface ListedDatabase {
  readonly name: string;
  /** Missing where the database is not of the kit. */
  readonly mark?: DatabaseMark;
}

/** @returns `foreign` for a database that the kit has not marked, undefined where there is none */
export async function findDatabase(
  run: RunSql,
  name: string,
): Promise<MarkedDatabase | 'foreign' | undefined> {
  const [row] = await run(
    `select shobj_description(oid, 'pg_database') as comment from pg_database where datname = $1`,
    [name],
  );
  if (row === undefined) {
    return undefined;
  }
  const [line = '', contents = '', fixtures = ''] = ((row['comment'] as string | null) ?? '').split(
    '\n',
  );
  const mark = parse(line);
  return mark === undefined
    ? 'foreign'
    : {
        mark,
        contents: JSON.parse(contents) as DatabaseContents,
        fixtures: JSON.parse(fixtures) as FixtureRows,
      };
}

/** All databases whose names begin with one of the prefixes, the newest first. */
export async function listDatabases(
  run: RunSql,
  prefixes: readonly string[],
): Promise<ListedDatabase[]> {
  const rows = await run(
    `select d.datname as name, split_part(shobj_description(d.oid, 'pg_database'), e'\\n', 1) as line
     from pg_database d where exists (select from unnest($1::text[]) p where starts_with(d.datname, p))
     order by d.oid desc`,
    [prefixes],
  );
  return rows.map(({ name, line }) => {
    const mark = parse((line as string | null) ?? '');
    return { name: name as string, ...(mark !== undefined && { mark }) };
  });
}

/** Marks a database, within the transaction of `run` if there is one. */
export async function markDatabase(
  run: RunSql,
  name: string,
  { mark, contents, fixtures }: MarkedDatabase,
): Promise<void> {
  const lines = [mark, contents, fixtures].map((each) => JSON.stringify(each));
  const comment = `${BEGINNING}${lines.join('\n')}`;
  // COMMENT takes no parameters, so the server quotes the text before.
  const [row] = await run('select quote_literal($1::text) as literal', [comment]);
  await run(`comment on database ${quoteIdentifier(name)} is ${String(row!['literal'])}`);
}

/**
 * Marks a database of the kit as one that a holder has, or undefined: nobody. Where there is no such database,
 * nothing happens.
 */
export async function markHolder(
  run: RunSql,
  name: string,
  holder: DatabaseHolder | undefined,
): Promise<void> {
  const found = await findDatabase(run, name);
  if (found !== undefined && found !== 'foreign') {
    const { holder: _before, ...mark } = found.mark;
    await markDatabase(run, name, {
      ...found,
      mark: { ...mark, ...(holder !== undefined && { holder }) },
    });
  }
}

function parse(line: string): DatabaseMark | undefined {
  return line.startsWith(BEGINNING)
    ? (JSON.parse(line.slice(BEGINNING.length)) as DatabaseMark)
    : undefined;
}
