import type { RunSql } from './database-link.js';

/** Foreign keys between two tables, and what would run beside an insertion or deletion. */
const REFERENCES = `
  with tables as (
    select c.oid, format('%I.%I', n.nspname, c.relname) as name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p')
  )
  select child.name as child, parent.name as parent
  from pg_constraint con
  join tables child on child.oid = con.conrelid
  join tables parent on parent.oid = con.confrelid
  where con.contype = 'f' and con.conrelid <> con.confrelid`;

const HAS_SIDE_EFFECTS = `
  select from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where format('%I.%I', n.nspname, c.relname) = any($1) and (
    exists (select from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal)
    or exists (select from pg_rewrite r where r.ev_class = c.oid))`;

const FIRES_AS_REPLICA = `
  select from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where format('%I.%I', n.nspname, c.relname) = any($1) and (
    exists (select from pg_trigger t where t.tgrelid = c.oid and t.tgenabled in ('A', 'R'))
    or exists (select from pg_rewrite r where r.ev_class = c.oid and r.ev_enabled in ('A', 'R')))`;

interface Reference {
  readonly child: string;
  readonly parent: string;
}

/**
 * The tables whose rows have to be put back together with those of `changed`, parents before the tables
 * that refer to them.
 *
 * @param hasRows whether a table that has not changed has rows
 * @returns undefined where tables refer to one another in a circle, or have triggers or rules
 */
export async function inReferenceOrder(
  run: RunSql,
  changed: readonly string[],
  hasRows: (table: string) => boolean,
): Promise<readonly string[] | undefined> {
  const references = (await run(REFERENCES)) as unknown as Reference[];
  const tables = withChildren(changed, references, hasRows);
  if ((await run(HAS_SIDE_EFFECTS, [tables])).length > 0) {
    return undefined;
  }
  const left = new Set(tables);
  const ordered: string[] = [];
  while (left.size > 0) {
    const next = [...left].filter(
      (table) => !references.some(({ child, parent }) => child === table && left.has(parent)),
    );
    if (next.length === 0) {
      return undefined;
    }
    ordered.push(...next);
    next.forEach((table) => left.delete(table));
  }
  return ordered;
}

/** Rows that refer to rows which are deleted have to go, and come back, with them. */
function withChildren(
  changed: readonly string[],
  references: readonly Reference[],
  hasRows: (table: string) => boolean,
): string[] {
  const tables = new Set(changed);
  // The loop meets what is added while it runs.
  for (const table of tables) {
    for (const { child, parent } of references) {
      if (parent === table && hasRows(table) && hasRows(child)) {
        tables.add(child);
      }
    }
  }
  return [...tables];
}

/**
 * Whether one of the tables has a trigger or a rule that runs in spite of `session_replication_role`, and
 * could refuse what puts rows back, or write others: `ENABLE ALWAYS` or `ENABLE REPLICA`.
 */
export async function firesAsReplica(run: RunSql, tables: readonly string[]): Promise<boolean> {
  return (await run(FIRES_AS_REPLICA, [tables])).length > 0;
}
