/** Any client of the database, but not the application: what that sees is not all that is there. */
interface Database {
  query(sql: string): Promise<readonly Record<string, unknown>[]>;
}

/** Of all schemas; those of PostgreSQL itself hold no data of an application. */
const TABLES = `
  select format('%I.%I', n.nspname, c.relname) as name
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'm') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  order by 1`;

/**
 * What is in a database: for each table of each schema the number of its rows, and the MD5 of all of
 * them, as text, in an order that does not depend on how they are stored.
 */
export async function digestTables(database: Database): Promise<Readonly<Record<string, string>>> {
  const digests: Record<string, string> = {};
  for (const { name } of await database.query(TABLES)) {
    const [row] = await database.query(`
      select count(*) || ' rows, ' ||
             md5(coalesce(string_agg(text, e'\\n' order by text collate "C"), '')) as digest
      from (select t::text as text from ${String(name)} t) rows`);
    digests[String(name)] = String(row?.['digest']);
  }
  return digests;
}
