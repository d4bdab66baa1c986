import type { PgClient } from '../postgresql/pg-client.js';
import { rowsOf } from './rows-of.js';

const CONFIG_CALL = /\bset_config\(\s*(?:\$(\d+)|'([^']+)')/gi;
/** A SET at the beginning of a statement, which may follow another statement or a comment. */
const SET_STATEMENT =
  /(?:^|;)(?:\s|--[^\n]*\n|\/\*[\s\S]*?\*\/)*set\s+(?:local\s+|session\s+)?("?[\w.]+"?)\s*(?:=|to\b|\s)/gi;

/** The words after SET that name no setting. */
const NOT_SETTINGS = new Set(['transaction', 'constraints', 'characteristics', 'authorization']);

/** The constraints that are deferred at the beginning of a transaction. */
const DEFERRED_CONSTRAINTS = `
  select string_agg(format('%I.%I', n.nspname, c.conname), ', ') as names
  from pg_constraint c join pg_namespace n on n.oid = c.connamespace
  where c.condeferred`;

const WRITES =
  'select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::text as writes from pg_stat_xact_all_tables';

/**
 * Does what COMMIT does besides saving, inside of a transaction that goes on: deferred constraints are
 * checked, and settings that are local to the transaction get their earlier values back.
 */
export class SimulatedCommit {
  readonly #client: PgClient;
  readonly #deferred: string | undefined;
  readonly #before = new Map<string, string>();

  constructor(client: PgClient, deferred: string | undefined) {
    this.#client = client;
    this.#deferred = deferred;
  }

  /** Remembers the settings that a statement is about to change. */
  async remember(sql: string, values: readonly unknown[]): Promise<void> {
    const names = new Set(changedSettings(sql, values).filter((name) => !this.#before.has(name)));
    // All at once, so that the questions are before the statement where nobody waits for the answers.
    await Promise.all([...names].map((name) => this.#remember(name)));
  }

  async #remember(name: string): Promise<void> {
    const [row] = await rowsOf(this.#client, 'select current_setting($1, true) as value', [name]);
    const value = (row?.['value'] ?? undefined) as string | undefined;
    // A variable that was never set reads as empty after the transaction that sets it. An unknown
    // name without a dot is no setting; it was part of another text.
    if (value !== undefined || name.includes('.')) {
      this.#before.set(name, value ?? '');
    }
  }

  /** @throws the server's error for a constraint that is violated */
  async apply(): Promise<void> {
    const back = this.#deferred === undefined ? '' : `; set constraints ${this.#deferred} deferred`;
    // Triggers that COMMIT would fire run here, while the role and the variables are still set.
    await this.#client.query(`set constraints all immediate${back}`);
    // In reverse order, so that the role goes first: it may not be allowed to set the variables.
    for (const [name, value] of [...this.#before].toReversed()) {
      await this.#client.query('select set_config($1, $2, true)', [name, value]);
    }
  }
}

/** Names of the constraints that are deferred by default, as SET CONSTRAINTS takes them. */
export async function deferredConstraints(client: PgClient): Promise<string | undefined> {
  const [row] = await rowsOf(client, DEFERRED_CONSTRAINTS);
  return (row?.['names'] as string | null) ?? undefined;
}

/** How many rows the transaction has written so far. */
export async function countWrites(client: PgClient): Promise<bigint> {
  const [row] = await rowsOf(client, WRITES);
  return BigInt(String(row?.['writes']));
}

function changedSettings(sql: string, values: readonly unknown[]): readonly string[] {
  const called = [...sql.matchAll(CONFIG_CALL)].map(([, index, name]) =>
    index === undefined ? name! : String(values[Number(index) - 1]),
  );
  const set = [...sql.matchAll(SET_STATEMENT)]
    .map(([, name]) => name!.replaceAll('"', '').toLowerCase())
    .filter((name) => !NOT_SETTINGS.has(name))
    .map((name) => (name === 'time' ? 'timezone' : name));
  return [...called, ...set];
}
