import { randomUUID } from 'node:crypto';

import { createTestDatabase, type TestDatabase } from '../../support/database.js';
import { LIBRARY_SCHEMA } from '../../support/library.entities.js';
import { NOTE_SCHEMA } from '../../support/note.entity.js';
import { waitFor } from '../../support/wait-for.js';

/** A row, as the server has it. */
export interface SavedRow {
  /** The key of the request that wrote the row. */
  readonly key: string;
  readonly text: string;
  /** The id of the transaction that wrote the row. */
  readonly xid: string;
}

// Faults that the server itself has to raise, by the text of a row.
const FAULTY_SCHEMA = `
  create function fail_by_text() returns trigger language plpgsql as $$
  begin
    if new.text like '%/disk-full' then
      raise exception 'could not extend file "base/1/2": No space left on device'
        using errcode = '53100', hint = 'Check free disk space.';
    end if;
    return new;
  end $$;
  create trigger fail_by_text before insert on note for each row execute function fail_by_text();
  create function sleep_by_text() returns trigger language plpgsql as $$
  begin
    if new.text like '%/sleeps-at-commit' then
      perform pg_sleep(60);
    end if;
    return null;
  end $$;
  create constraint trigger sleep_by_text after insert on note deferrable initially deferred
    for each row execute function sleep_by_text();
  create table counter (id integer primary key, value integer not null);
  insert into counter select id, 0 from generate_series(1, 100) as id`;

/**
 * The database of one family of faults. The application logs in as a role of its own that is no
 * superuser: its connections differ from all others by their user, and the server can be made to treat it
 * badly without doing so to anybody else.
 */
export class FaultDatabase {
  readonly role: string;
  readonly database: TestDatabase;

  private constructor(database: TestDatabase, role: string) {
    this.database = database;
    this.role = role;
  }

  static async open(): Promise<FaultDatabase> {
    const role = `faults_${randomUUID().replaceAll('-', '')}`;
    const faultDatabase = new FaultDatabase(await createTestDatabase(), role);
    await faultDatabase.database.query(`create role ${role} login password 'faults'`);
    for (const sql of [NOTE_SCHEMA, LIBRARY_SCHEMA, FAULTY_SCHEMA]) {
      await faultDatabase.database.query(sql);
    }
    await faultDatabase.database.query(`
      grant all on all tables in schema public to ${role};
      grant all on all sequences in schema public to ${role}`);
    return faultDatabase;
  }

  /** URL that the application is to use, past any proxy. */
  get url(): string {
    const url = new URL(this.database.url);
    url.username = this.role;
    url.password = 'faults';
    return url.href;
  }

  async close(): Promise<void> {
    await this.database.query(`drop owned by ${this.role}; drop role ${this.role}`);
    await this.database.drop();
  }

  /** Empties the tables, and takes back what was done to the server. */
  async clear(): Promise<void> {
    await this.resetServer();
    await this.database.query(`
      truncate note, author, book restart identity cascade;
      update counter set value = 0`);
  }

  /** Takes back what was done to the server, for connections that are opened from now on. */
  async resetServer(): Promise<void> {
    await this.database.query(
      `alter role ${this.role} reset all; alter role ${this.role} connection limit -1`,
    );
  }

  /** Changes a setting of the server for connections that the application opens from now on. */
  async setServer(setting: string, value: string): Promise<void> {
    await this.database.query(`alter role ${this.role} set ${setting} = '${value}'`);
  }

  async rows(): Promise<SavedRow[]> {
    return this.database.query<{ key: string; text: string; xid: string }>(
      `select split_part(text, '/', 1) as key, text, xid::text as xid from note order by id`,
    );
  }

  /** Ends backends of the application, and waits until they are gone. */
  async kill(condition: string, params: readonly unknown[] = []): Promise<number> {
    const killed = await this.database.query(
      `select pg_terminate_backend(pid, 5000) from pg_stat_activity
       where usename = '${this.role}' and ${condition}`,
      params,
    );
    return killed.length;
  }

  /** How many backends of the application meet a condition on `pg_stat_activity`. */
  async count(condition = 'true'): Promise<number> {
    const [row] = await this.database.query<{ count: number }>(
      `select count(*)::int as count from pg_stat_activity
       where usename = '${this.role}' and ${condition}`,
    );
    return row!.count;
  }

  /** Waits until backends of the application meet a condition. */
  async until(condition: string, what: string, isMet = (count: number) => count > 0) {
    await waitFor(async () => isMet(await this.count(condition)), { what });
  }
}
