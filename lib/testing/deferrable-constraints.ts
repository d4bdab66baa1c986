import type { DbConnection } from '../connection/db-connection.js';
import type { PgResult } from '../postgresql/pg-client.js';

/** Whether there are deferrable constraints, and those that are deferred at the beginning of a transaction. */
export const DEFERRABLE_CONSTRAINTS =
  `select count(*)::int as count, string_agg(format('%I.%I', n.nspname, c.conname), ', ') ` +
  'filter (where c.condeferred) as deferred from pg_catalog.pg_constraint c ' +
  'join pg_catalog.pg_namespace n on n.oid = c.connamespace where c.condeferrable';

/** The commands after which the answer may be another one. */
const CHANGES_SCHEMA = /^(?:create|alter|drop|do|call|import)$/i;
const MAY_CHANGE_SCHEMA = /(?:^|;)\s*(?:create|alter|drop|do|call|import)\b/i;

/** The answers of the servers of connections, each under an object that is another one for each server. */
const known = new WeakMap<object, readonly string[]>();

/**
 * What the commit of a transaction of the application has to do for constraints that are checked at its
 * end: nothing, where the database has none. The database is asked once for each connection, and again
 * where the transaction of a test changes its schema.
 */
export class DeferrableConstraints {
  readonly #connection: DbConnection;
  #hasChanged = false;
  #changed: readonly string[] | undefined;

  constructor(connection: DbConnection) {
    this.#connection = connection;
  }

  /**
   * The statements that check them, and leave each as it was at the beginning.
   *
   * @returns `undefined` where the database has to be asked first
   */
  get checks(): readonly string[] | undefined {
    return this.#hasChanged ? this.#changed : known.get(this.#connection.knownCode);
  }

  /** Commands have been answered, which may have changed the schema. */
  ran(answer: PgResult | PgResult[]): void {
    if ([answer].flat().some(({ command }) => CHANGES_SCHEMA.test(command ?? ''))) {
      this.#forget();
    }
  }

  /** A text is sent whose answer nobody sees. */
  mayRun(sql: string): void {
    if (MAY_CHANGE_SCHEMA.test(sql)) {
      this.#forget();
    }
  }

  #forget(): void {
    this.#hasChanged = true;
    this.#changed = undefined;
  }

  /** @param answer the answer to {@link DEFERRABLE_CONSTRAINTS} */
  answered(answer: PgResult | undefined): void {
    const [row] = (answer?.rows ?? []) as { count: number; deferred: string | null }[];
    const checks = checksOf(row);
    if (this.#hasChanged) {
      this.#changed = checks;
    } else {
      known.set(this.#connection.knownCode, checks);
    }
  }
}

function checksOf(row: { count: number; deferred: string | null } | undefined): readonly string[] {
  if (row === undefined || row.count === 0) {
    return [];
  }
  // Triggers that COMMIT would fire run here, while the role and the variables are still set.
  const check = 'set constraints all immediate';
  return row.deferred === null ? [check] : [check, `set constraints ${row.deferred} deferred`];
}
