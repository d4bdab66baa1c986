/** Work that joins a context below one of MikroORM's request contexts, which is nobody's to flush. */
import { RequestContext } from '@mikro-orm/core';
import { CreateRequestContext, EnsureRequestContext } from '@mikro-orm/decorators/legacy';
import { MikroORM, type EntityManager } from '@mikro-orm/postgresql';
import { Controller, Injectable, Post } from '@nestjs/common';
import {
  DbContext,
  getConnectionToken,
  InjectConnection,
  InjectSession,
  NewDbContext,
  WithDbContext,
  type DbConnection,
} from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { waitFor } from '../support/wait-for.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';

@Injectable()
class Jobs {
  readonly orm: MikroORM;

  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectConnection() connection: DbConnection,
    private readonly dbContext: DbContext,
  ) {
    this.orm = connection.orm;
  }

  @CreateRequestContext()
  async created(work: () => unknown): Promise<void> {
    await work();
  }

  @EnsureRequestContext()
  async ensured(work: () => unknown): Promise<void> {
    await work();
  }

  @WithDbContext()
  async decorated(): Promise<void> {
    this.session.create(Note, { text: 'job' });
  }

  @NewDbContext()
  async fresh(): Promise<void> {
    this.session.create(Note, { text: 'job' });
  }

  run(): Promise<unknown> {
    return this.dbContext.run(() => this.session.create(Note, { text: 'job' }));
  }

  byGlobalManager(): Promise<unknown> {
    return this.dbContext.run(() => this.orm.em.create(Note, { text: 'job' }));
  }
}

@Controller()
class JobsController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post()
  add(): string {
    this.session.create(Note, { text: 'handler' });
    return 'added';
  }
}

describe.each(['session', 'own'] as const)(
  'with globalEntityManager: %s',
  (globalEntityManager) => {
    let database: TestDatabase;
    let app: TestApp;
    let jobs: Jobs;

    beforeAll(async () => {
      database = await createTestDatabase();
      await database.query(NOTE_SCHEMA);
      app = await startApp({
        connections: [{ ...noteConnection(database.url), globalEntityManager }],
        controllers: [JobsController],
        providers: [Jobs],
        configure: (each) => {
          const { em } = each.get<DbConnection>(getConnectionToken()).orm;
          each.use((_request: unknown, response: NodeJS.EventEmitter, next: () => void) =>
            each.get(DbContext).run(
              () =>
                new Promise<void>((resolve) => {
                  response.once('close', resolve);
                  RequestContext.create(em, next);
                }),
            ),
          );
        },
      });
      jobs = app.app.get(Jobs);
    });
    afterAll(async () => {
      await app?.close();
      await database?.drop();
    });
    beforeEach(() => database.query('truncate note restart identity'));

    const saved = async (): Promise<string[]> =>
      (await database.query<{ text: string }>('select text from note order by id')).map(
        ({ text }) => text,
      );

    const AROUND: Readonly<Record<string, (work: () => Promise<unknown>) => Promise<unknown>>> = {
      '@CreateRequestContext()': (work) => jobs.created(work),
      '@EnsureRequestContext()': (work) => jobs.ensured(work),
      'RequestContext.create()': (work) => RequestContext.create(jobs.orm.em, work),
    };
    const WAYS: Readonly<Record<string, () => Promise<unknown>>> = {
      '@WithDbContext()': () => jobs.decorated(),
      '@NewDbContext()': () => jobs.fresh(),
      'dbContext.run()': () => jobs.run(),
      ...(globalEntityManager === 'session' && {
        'dbContext.run() and orm.em': () => jobs.byGlobalManager(),
      }),
    };
    const cells = Object.keys(AROUND).flatMap((around) =>
      Object.keys(WAYS).map((way) => [around, way] as const),
    );

    it.each(cells)('W2: outside of a context, %s > %s is saved', async (around, way) => {
      await AROUND[around]!(WAYS[way]!);
      expect(await saved()).toEqual(['job']);
    });

    it.each(cells)('W2: in a context, %s > %s is saved', async (around, way) => {
      await app.dbContext.run(() => AROUND[around]!(WAYS[way]!));
      expect(await saved()).toEqual(['job']);
    });

    it.each(cells)('W2: in a context that fails, %s > %s is part of it', async (around, way) => {
      const work = app.dbContext.run(async () => {
        await AROUND[around]!(WAYS[way]!);
        throw new Error('refused');
      });
      await expect(work).rejects.toThrow(new Error('refused'));
      expect(await saved()).toEqual(way === '@NewDbContext()' ? ['job'] : []);
    });

    it('W2: a handler below a middleware of MikroORM that is inside of the context is saved', async () => {
      const { status } = await app.fetch('/', { method: 'POST' });
      expect(status).toBe(201);
      // It is committed as the response is closed, on the side of the server.
      await waitFor(async () => (await saved()).length > 0, { what: 'the commit' });
      expect(await saved()).toEqual(['handler']);
    });
  },
);
