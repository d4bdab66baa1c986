import type { PgResult } from './pg-client.js';

/**
 * Names of a database behind which code may hide that the text of a read does not show. Those of extensions
 * and of PostgreSQL itself are left out, but for functions that are called as if they were columns.
 */
export interface HiddenCode {
  /** Views and foreign tables. */
  readonly relations: ReadonlySet<string>;
  /** Functions of the application, which may have the name of one that is known. */
  readonly functions: ReadonlySet<string>;
  /** Functions that take one value, and so may be written as if they were columns of it. */
  readonly attributes: ReadonlySet<string>;
  readonly operators: readonly string[];
}

/** What is known of the database of a server; nothing, as long as nobody has asked it. */
export interface KnownCode {
  names: HiddenCode | undefined;
}

/**
 * Asks the catalogue for them: one row, whose columns bear the names of {@link HiddenCode}. Functions of
 * PostgreSQL itself that are not volatile cannot change anything.
 */
export const HIDDEN_CODE = `
select
  array(select relname::text from pg_catalog.pg_class c
    where relkind in ('v', 'f') and relnamespace <> all (own.schemas) and not exists (
      select from pg_catalog.pg_depend d
      where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')) as relations,
  array(select distinct proname::text from pg_catalog.pg_proc p
    where pronamespace <> all (own.schemas) and not exists (
      select from pg_catalog.pg_depend d
      where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')) as functions,
  array(select distinct proname::text from pg_catalog.pg_proc
    where pronargs > 0 and pronargs - pronargdefaults <= 1 and proargtypes[0] <> 'internal'::regtype
      and (pronamespace <> all (own.schemas) or provolatile = 'v')) as attributes,
  array(select distinct oprname::text from pg_catalog.pg_operator o
    where oprnamespace <> all (own.schemas) and not exists (
      select from pg_catalog.pg_depend d
      where d.classid = 'pg_catalog.pg_operator'::regclass and d.objid = o.oid and d.deptype = 'e')) as operators
from (select array['pg_catalog'::regnamespace, 'information_schema'::regnamespace]::oid[] as schemas) own`;

/** Reads the answer to {@link HIDDEN_CODE}. */
export function hiddenCodeOf(answer: PgResult | PgResult[]): HiddenCode {
  const { rows } = answer as PgResult;
  const row = rows[0] as Record<keyof HiddenCode, readonly string[]>;
  return {
    relations: new Set(row.relations),
    functions: new Set(row.functions),
    attributes: new Set(row.attributes),
    operators: row.operators,
  };
}
