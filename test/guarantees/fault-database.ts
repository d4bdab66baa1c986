import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { NOTE_SCHEMA } from '../support/note.entity.js';
import { waitFor } from '../support/wait-for.js';

/** A row, as the server has it. */
export interface SavedRow {
  /** Of the request that wrote it. */
  readonly key: string;
  readonly text: string;
  /** Of the transaction that wrote it. */
  readonly xid: string;
}

/** The database, past the applications. */
export class FaultDatabase {
  private constructor(private readonly database: TestDatabase) {}

  static async open(): Promise<FaultDatabase> {
    const faultDatabase = new FaultDatabase(await createTestDatabase());
    await faultDatabase.database.query(NOTE_SCHEMA);
    return faultDatabase;
  }

  get url(): string {
    return this.database.url;
  }

  /** Empties the table; whoever of an earlier application still holds it is ended. */
  async clear(): Promise<void> {
    await this.database.query(
      `select pg_terminate_backend(pid, 5000) from pg_stat_activity
       where datname = current_database() and xact_start is not null and pid <> pg_backend_pid()`,
    );
    await this.database.query('truncate note restart identity');
  }

  async rows(): Promise<SavedRow[]> {
    return this.database.query<{ key: string; text: string; xid: string }>(
      `select split_part(text, '/', 1) as key, text, xid::text as xid from note order by id`,
    );
  }

  /** Ends a backend, and waits until it is gone. */
  async kill(pid: number): Promise<void> {
    await this.database.query('select pg_terminate_backend($1, 5000)', [pid]);
  }

  /** Waits until the server has ended a backend by itself. */
  async untilGone(pid: number): Promise<void> {
    await waitFor(
      async () =>
        (await this.database.query('select 1 from pg_stat_activity where pid = $1', [pid]))
          .length === 0,
      { what: 'the server to end a backend' },
    );
  }

  async close(): Promise<void> {
    await this.database.drop();
  }
}
