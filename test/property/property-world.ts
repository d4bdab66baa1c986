import type { EntityManager } from '@mikro-orm/postgresql';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { NOTE_SCHEMA } from '../support/note.entity.js';
import type { TransactionSettings } from 'nestjs-db-context';

import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';
import {
  DATABASES,
  perDatabase,
  seedsOf,
  type Database,
  type Outcome,
  type Program,
  type Row,
} from './program.js';
import { Runner } from './runner.js';

/** Longest time that a program may take; it takes some milliseconds. */
const PROGRAM_TIMEOUT_MS = 6_000;

/** Every wait of the library ends before the program times out, so that its error says why. */
const LIMITS = {
  // More than a program can hold at once: these are no tests of full pools.
  poolMax: 40,
  acquireTimeoutMs: 2_000,
  savepointTimeoutMs: 2_000,
  drainTimeoutMs: 2_000,
  endTimeoutMs: 2_000,
  transactionTimeoutMs: 4_000,
};

const SCHEMA = `${NOTE_SCHEMA};
  create table parent (id int primary key);
  create table orphan (parent int references parent (id) deferrable initially deferred)`;

const OPEN_TRANSACTIONS = `
  select state, query from pg_stat_activity
  where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null
    and query not like '%pg_stat_activity%'`;

/** An application with two databases, on which one program after another is run. */
export class PropertyWorld {
  readonly #databases: Readonly<Record<Database, TestDatabase>>;
  readonly #app: TestApp;
  readonly #beforeCommits: Record<Database, number>;

  private constructor(
    databases: Readonly<Record<Database, TestDatabase>>,
    app: TestApp,
    beforeCommits: Record<Database, number>,
  ) {
    this.#databases = databases;
    this.#app = app;
    this.#beforeCommits = beforeCommits;
  }

  /** @param begin what begins the transactions */
  static async start(begin?: TransactionSettings['begin']): Promise<PropertyWorld> {
    const [first, second] = await Promise.all([createTestDatabase(), createTestDatabase()]);
    const databases = { default: first, other: second };
    const beforeCommits = perDatabase(() => 0);
    await Promise.all(DATABASES.map((db) => databases[db].query(SCHEMA)));
    const app = await startApp({
      connections: DATABASES.map((name) =>
        noteConnection(databases[name].url, {
          ...LIMITS,
          name,
          transaction: { ...(begin && { begin }) },
        }),
      ),
      beforeCommit: (_, name) => {
        beforeCommits[name as Database]++;
      },
    });
    return new PropertyWorld(databases, app, beforeCommits);
  }

  async close(): Promise<void> {
    await this.#app.close();
    await Promise.all(DATABASES.map((db) => this.#databases[db].drop()));
  }

  /**
   * Runs a program on empty databases.
   *
   * @throws Error it did not end, or left something open
   */
  async outcomeOf(program: Program): Promise<Outcome> {
    await Promise.all(DATABASES.map((db) => this.#seed(db, program)));
    DATABASES.forEach((db) => (this.#beforeCommits[db] = 0));
    const runner = new Runner({
      dbContext: this.#app.dbContext,
      sessions: perDatabase((db): EntityManager => this.#app.session(db)),
      checkedOut: () => perDatabase((db) => this.#app.pool(db).checkedOut),
    });
    const { result, trace } = await withinLimit(runner.run(program));
    await this.#assertNothingIsOpen();
    const [first, second] = await Promise.all(DATABASES.map((db) => this.#rows(db)));
    return {
      result,
      trace,
      rows: { default: first!, other: second! },
      beforeCommits: { ...this.#beforeCommits },
    };
  }

  async #seed(db: Database, program: Program): Promise<void> {
    const values = seedsOf(program, db).map((text) => `('${text}')`);
    await this.#databases[db].query(
      `truncate note, orphan restart identity;
       insert into note (text) values ${values.join(', ')}`,
    );
  }

  async #rows(db: Database): Promise<Row[]> {
    return this.#databases[db].query<Row & { text: string }>(
      'select text, xid::text as transaction from note',
    );
  }

  /** F1: nothing is checked out, nobody waits, and no transaction is open on the server. */
  async #assertNothingIsOpen(): Promise<void> {
    try {
      for (const db of DATABASES) {
        // What was ended while it waited for a connection leaves the pool's queue a tick later.
        await waitFor(
          () => {
            const { checkedOut, waiting } = this.#app.pool(db);
            return checkedOut === 0 && waiting === 0;
          },
          { what: `an empty pool of ${db}`, timeoutMs: 1_000 },
        );
        await waitFor(
          async () => (await this.#databases[db].query(OPEN_TRANSACTIONS)).length === 0,
          { what: `the end of all transactions on ${db}`, timeoutMs: 1_000 },
        );
      }
    } catch (error) {
      await this.#endEverything();
      throw error;
    }
  }

  /** Otherwise the next program would wait for the locks of this one. */
  async #endEverything(): Promise<void> {
    await Promise.all(
      DATABASES.map((db) =>
        this.#databases[db].query(
          `select pg_terminate_backend(pid) from pg_stat_activity
           where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null`,
        ),
      ),
    );
  }
}

async function withinLimit<T>(work: Promise<T>): Promise<T> {
  const limit = deferred<never>();
  const timer = setTimeout(() => {
    limit.reject(new Error(`the program did not end within ${PROGRAM_TIMEOUT_MS} ms`));
  }, PROGRAM_TIMEOUT_MS);
  try {
    return await Promise.race([work, limit.promise]);
  } finally {
    clearTimeout(timer);
  }
}
