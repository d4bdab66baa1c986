import type { EntityManager } from '@mikro-orm/postgresql';
import { Body, Controller, Post } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';
import {
  useTestTransaction,
  type CurrentTestTransaction,
  type UseTestTransactionOptions,
} from 'nestjs-db-context/testing';

import { createTestDatabase, type TestDatabase } from './database.js';
import { Note, NOTE_SCHEMA } from './note.entity.js';
import { RunnerHooks } from './runner-hooks.js';
import { noteConnection, startApp, type TestApp } from './test-app.js';

@Controller('notes')
class NotesController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectSession('audit') private readonly audit: EntityManager,
  ) {}

  @Post()
  add(@Body() { text }: { text: string }): void {
    this.session.persist(new Note(text));
  }

  @Post('audited')
  addAudited(@Body() { text }: { text: string }): void {
    this.session.persist(new Note(text));
    this.audit.persist(new Note(`audit of ${text}`));
  }
}

/** Two connections to one database, and what writes to them in a test or between two. */
export class TestsAndJobs {
  app!: TestApp;
  /** The hooks of a runner, which a test runs itself. */
  hooks!: RunnerHooks;
  database!: TestDatabase;

  use(options: UseTestTransactionOptions = {}): CurrentTestTransaction {
    return useTestTransaction(() => this.app.app, { ...this.hooks.options, ...options });
  }

  insert(text: string, name?: string): Promise<unknown> {
    return this.app.dbContext.run(() => this.app.session(name).insert(Note, { text }));
  }

  post(path: string, text: string): Promise<Response> {
    return this.app.fetch(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ text }),
    });
  }

  async saved(): Promise<string[]> {
    const rows = await this.database.query<{ text: string }>('select text from note order by text');
    return rows.map(({ text }) => text);
  }

  /** What a runner shows where the `afterAll()` of the kit fails. */
  endOfBlock(): Promise<unknown> {
    return this.hooks.run('afterAll').catch((error: unknown) => error);
  }

  /** How the pools hand out clients. */
  connects(): Promise<unknown[]> {
    return Promise.all(
      ['default', 'audit'].map(async (name) => (await this.app.connection(name).pool()).connect),
    );
  }
}

/** Starts the application before the tests of a file, and looks after each what is left of it. */
export function useTestsAndJobs(): TestsAndJobs {
  const world = new TestsAndJobs();
  const ownConnects: unknown[] = [];
  beforeAll(async () => {
    world.database = await createTestDatabase();
    await world.database.query(NOTE_SCHEMA);
    const { url } = world.database;
    world.app = await startApp({
      connections: [
        noteConnection(url, { acquireTimeoutMs: 500 }),
        noteConnection(url, { name: 'audit', acquireTimeoutMs: 500 }),
      ],
      controllers: [NotesController],
    });
    ownConnects.push(...(await world.connects()));
  });
  afterAll(async () => {
    await world.app.close();
    await world.database.drop();
  });
  beforeEach(() => {
    world.hooks = new RunnerHooks();
  });
  afterEach(async () => {
    for (const name of ['default', 'audit']) {
      expect(world.app.pool(name)).toMatchObject({ checkedOut: 0, waiting: 0 });
    }
    expect(await world.connects()).toEqual(ownConnects);
    await world.database.query('truncate note');
  });
  return world;
}

/** The error of work that belongs to no test. */
export const NO_TEST: unknown = expect.objectContaining({
  name: 'OutsideTestError',
  code: 'OUTSIDE_TEST',
  reason: 'no-test',
  connectionName: 'default',
  message: expect.stringContaining('while no test was running'),
});
