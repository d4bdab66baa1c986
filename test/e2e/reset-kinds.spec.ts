import type { EntityManager } from '@mikro-orm/postgresql';
import { BadRequestException, Controller, Get, Param, Post } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type AdapterName, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

/** Something that a request can leave in the session of the server, and how the next one looks for it. */
interface Kind {
  readonly leave: string;
  /** Selects one text as `seen`. */
  readonly look: string;
  /** What a new connection sees. */
  readonly clean: string;
  /** Whether the server keeps it also where the transaction is rolled back. */
  readonly survivesRollback?: boolean;
  /** Whether it is not there before the transaction is committed. */
  readonly beginsWithCommit?: boolean;
  /** Whether DISCARD ALL does not undo it, so that only a new connection is without it. */
  readonly needsNewConnection?: boolean;
}

const setting = (name: string): string =>
  `select coalesce(current_setting('${name}', true), '') as seen`;
const counted = (from: string): string => `select count(*)::text as seen from ${from}`;

const KINDS: Readonly<Record<string, Kind>> = {
  'SET of a variable': { leave: `set app.tenant = 'a'`, look: setting('app.tenant'), clean: '' },
  'set_config(..., false)': {
    leave: `select set_config('app.tenant', 'a', false)`,
    look: setting('app.tenant'),
    clean: '',
  },
  'SET ROLE': { leave: 'set role pg_monitor', look: setting('role'), clean: 'none' },
  'SET SESSION AUTHORIZATION': {
    leave: 'set session authorization pg_monitor',
    look: 'select (session_user = (select usename from pg_stat_activity where pid = pg_backend_pid()))::text as seen',
    clean: 'true',
  },
  search_path: {
    leave: 'set search_path to pg_catalog',
    look: setting('search_path'),
    clean: '"$user", public',
  },
  'SET TIME ZONE': {
    leave: `set time zone 'Asia/Tokyo'`,
    look: `select (current_setting('TimeZone') = 'Asia/Tokyo')::text as seen`,
    clean: 'false',
  },
  DateStyle: {
    leave: `set datestyle to 'German'`,
    look: `select (current_setting('DateStyle') like 'German%')::text as seen`,
    clean: 'false',
  },
  'SET SESSION CHARACTERISTICS': {
    leave: 'set session characteristics as transaction isolation level serializable',
    look: setting('default_transaction_isolation'),
    clean: 'read committed',
  },
  'a temporary table': {
    leave: 'create temporary table left_behind (id int)',
    look: counted(`pg_class where relname = 'left_behind'`),
    clean: '0',
  },
  'a temporary table that shadows a real one': {
    leave: 'create temp table note (like public.note)',
    look: `select relpersistence::text as seen from pg_class where oid = 'note'::regclass`,
    clean: 'p',
  },
  'CREATE TEMP TABLE ... AS': {
    leave: 'create /* for a while */ local temp table left_behind as select 1 as id',
    look: counted(`pg_class where relname = 'left_behind'`),
    clean: '0',
  },
  'SELECT ... INTO TEMP': {
    leave: 'select 1 as id into temp left_behind',
    look: counted(`pg_class where relname = 'left_behind'`),
    clean: '0',
  },
  'a temporary view': {
    leave: 'create or replace temp view left_behind as select 1 as id',
    look: counted(`pg_class where relname = 'left_behind'`),
    clean: '0',
  },
  'a temporary sequence': {
    leave: 'create temp sequence left_behind',
    look: counted(`pg_class where relname = 'left_behind'`),
    clean: '0',
  },
  'a table in pg_temp': {
    leave: 'create table pg_temp.left_behind (id int)',
    look: counted(`pg_class where relname = 'left_behind'`),
    clean: '0',
  },
  'an advisory lock': {
    leave: 'select pg_advisory_lock(1)',
    look: counted(`pg_locks where locktype = 'advisory' and pid = pg_backend_pid()`),
    clean: '0',
    survivesRollback: true,
  },
  'an advisory lock that was tried': {
    leave: 'select PG_TRY_ADVISORY_LOCK_SHARED(1)',
    look: counted(`pg_locks where locktype = 'advisory' and pid = pg_backend_pid()`),
    clean: '0',
    survivesRollback: true,
  },
  LISTEN: {
    leave: 'listen news',
    look: counted('pg_listening_channels()'),
    clean: '0',
    beginsWithCommit: true,
  },
  PREPARE: {
    leave: 'prepare left_behind as select 1',
    look: counted('pg_prepared_statements where from_sql'),
    clean: '0',
    survivesRollback: true,
  },
  'a cursor WITH HOLD': {
    leave: 'declare left_behind cursor with hold for select 1',
    look: counted('pg_cursors where is_holdable'),
    clean: '0',
  },
  'SET inside of DO': {
    leave: `do $$ begin execute 'set app.tenant = ''a'''; end $$`,
    look: setting('app.tenant'),
    clean: '',
  },
  'SET after another statement': {
    leave: `select 1; /* set local */ set app.tenant = 'set local'`,
    look: setting('app.tenant'),
    clean: '',
  },
  LOAD: {
    leave: `load 'plpgsql'`,
    look: counted(`pg_settings where name like 'plpgsql.%'`),
    clean: '0',
    survivesRollback: true,
    needsNewConnection: true,
  },
};

interface Sight {
  readonly pid: number;
  readonly seen: string;
}

@Controller(':kind')
class LeftBehindController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post('leave')
  async leave(@Param('kind') kind: string): Promise<Sight> {
    await this.session.execute(KINDS[kind]!.leave);
    return this.look(kind);
  }

  @Post('leave-and-fail')
  async leaveAndFail(@Param('kind') kind: string): Promise<never> {
    throw new BadRequestException(await this.leave(kind));
  }

  @Get('look')
  async look(@Param('kind') kind: string): Promise<Sight> {
    const [sight] = await this.session.execute<Sight[]>(
      `select pg_backend_pid() as pid, (${KINDS[kind]!.look})`,
    );
    return sight!;
  }
}

describe.each<AdapterName>(['express', 'fastify'])(
  'what a request leaves in a pooled connection, over %s',
  (adapter) => {
    let database: TestDatabase;
    let app: TestApp;

    beforeAll(async () => {
      database = await createTestDatabase();
      await database.query(NOTE_SCHEMA);
      app = await startApp({
        adapter,
        connections: [noteConnection(database.url, { poolMax: 1, applicationName: 'reset kinds' })],
        controllers: [LeftBehindController],
      });
    });

    afterAll(async () => {
      await app?.close();
      await database?.drop();
    });

    // Each test has a connection that no other has used.
    beforeEach(async () => {
      await database.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where application_name = 'reset kinds' and datname = current_database()`,
      );
      await waitFor(() => app.pool().idle === 0, { what: 'the pool to lose its connection' });
    });

    const ask = async (kind: string, path: string, method: string): Promise<Sight> => {
      const response = await app.fetch(`/${encodeURIComponent(kind)}/${path}`, { method });
      return (await response.json()) as Sight;
    };

    it.each(Object.entries(KINDS))(
      'F7: %s does not reach the next request',
      async (name, { clean, beginsWithCommit = false, needsNewConnection = false }) => {
        const left = await ask(name, 'leave', 'POST');
        expect(left.seen === clean).toBe(beginsWithCommit);
        const next = await ask(name, 'look', 'GET');
        expect(next.seen).toBe(clean);
        // The connection is the same, unless it had to be given up.
        expect(next.pid === left.pid).toBe(!needsNewConnection);
      },
    );

    it.each(Object.entries(KINDS).filter(([, { survivesRollback }]) => survivesRollback))(
      'F7: %s does not outlive a request that is rolled back',
      async (name, { clean, needsNewConnection = false }) => {
        const left = await ask(name, 'leave-and-fail', 'POST');
        expect(left.seen).not.toBe(clean);
        const next = await ask(name, 'look', 'GET');
        expect(next.seen).toBe(clean);
        expect(next.pid === left.pid).toBe(!needsNewConnection);
      },
    );
  },
);
