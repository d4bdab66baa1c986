import type { AddressInfo } from 'node:net';

import { MikroOrmModule } from '@mikro-orm/nestjs';
import { defineConfig, EntityManager, EntityRepository, MikroORM } from '@mikro-orm/postgresql';
import { ConflictException, Controller, Post, type INestApplication } from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { DbContext, DbContextModule, InjectRepository, InjectSession } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';

@Controller()
class NotesController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectRepository(Note) private readonly notes: EntityRepository<Note>,
    private readonly global: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Post('unflushed')
  async unflushed(): Promise<{ isInTransaction: boolean }> {
    this.session.persist(new Note('unflushed'));
    await Promise.resolve();
    return { isInTransaction: this.session.isInTransaction() };
  }

  @Post('fails')
  async fails(): Promise<void> {
    await this.session.insert(Note, { text: 'by the injected session' });
    await this.notes.insert({ text: 'by the repository' });
    await this.dbContext.session().insert(Note, { text: 'by the session of the context' });
    throw new ConflictException();
  }

  @Post('fails-in-new-context')
  async failsInNewContext(): Promise<void> {
    await this.dbContext.runInNewContext(async () => {
      await this.session.insert(Note, { text: 'in a new context' });
      throw new ConflictException();
    });
  }

  @Post('past')
  async past(): Promise<void> {
    await this.global.insert(Note, { text: 'past the session' });
  }
}

// MikroORM's middleware opens a request context for all of the request, which is not one that the code of
// the context has entered. The global entity manager is its fork here; the session is not.
describe.each<['express' | 'fastify', 'interceptor' | 'middleware']>([
  ['express', 'interceptor'],
  ['express', 'middleware'],
  ['fastify', 'interceptor'],
  ['fastify', 'middleware'],
])("globalEntityManager: 'own' beside MikroORM's middleware, %s, mount: %s", (adapter, mount) => {
  let database: TestDatabase;
  let app: INestApplication;
  const log = new LogRecorder();

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    const testing = await Test.createTestingModule({
      imports: [
        MikroOrmModule.forRoot(
          defineConfig({ clientUrl: database.url, entities: [Note], pool: { min: 0, max: 3 } }),
        ),
        DbContextModule.forRootAsync({
          inject: [MikroORM],
          useFactory: (orm: MikroORM) => ({
            mount,
            watch: true,
            connections: [{ orm, globalEntityManager: 'own' }],
          }),
        }),
        DbContextModule.forFeature([Note]),
      ],
      controllers: [NotesController],
    }).compile();
    app = testing.createNestApplication(
      adapter === 'express' ? new ExpressAdapter() : new FastifyAdapter(),
      { forceCloseConnections: true, logger: log },
    );
    await app.listen(0, '127.0.0.1');
  });
  afterAll(async () => {
    await app.close();
    await database.drop();
    MikroOrmModule.clearStorage();
  });
  beforeEach(async () => {
    await database.query('truncate note');
    log.lines.length = 0;
  });

  const post = async (path: string): Promise<[status: number, body: unknown]> => {
    const { port } = app.getHttpServer().address() as AddressInfo;
    const response = await fetch(`http://127.0.0.1:${port}/${path}`, { method: 'POST' });
    const text = await response.text();
    return [response.status, text === '' ? undefined : JSON.parse(text)];
  };
  const saved = async (): Promise<string[]> =>
    (await database.query<{ text: string }>('select text from note')).map(({ text }) => text);

  it('L3: what the injected session persists is saved by the end of the request', async () => {
    expect(await post('unflushed')).toEqual([201, { isInTransaction: true }]);
    expect(await saved()).toEqual(['unflushed']);
  });

  it('S3: what the session, its repository and a new context wrote is undone by a failure', async () => {
    expect((await post('fails'))[0]).toBe(409);
    expect((await post('fails-in-new-context'))[0]).toBe(409);
    expect(await saved()).toEqual([]);
  });

  it('W2: the global entity manager writes by itself, and development says so', async () => {
    expect((await post('past'))[0]).toBe(201);
    expect(await saved()).toEqual(['past the session']);
    expect(log.ofLibrary('warn')).toEqual([expect.stringContaining('past its session')]);
  });
});
