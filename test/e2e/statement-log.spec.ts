import { Controller, ForbiddenException, Get, Post } from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import { InjectSession } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type AdapterName, type TestApp } from '../support/test-app.js';
import { WireProxy } from '../support/wire-proxy.js';

@Controller()
class NotesController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Get('nothing')
  nothing(): string {
    return 'nothing';
  }

  @Get('obtained')
  obtained(): number {
    return this.session.getUnitOfWork().getIdentityMap().values().length;
  }

  @Get('notes')
  find(): Promise<Note[]> {
    return this.session.find(Note, {});
  }

  @Post('notes')
  insert(): Note {
    const note = new Note(`note ${Math.random()}`);
    this.session.persist(note);
    return note;
  }

  @Get('refused')
  async refused(): Promise<never> {
    await this.session.find(Note, {});
    throw new ForbiddenException();
  }
}

describe.each<AdapterName>(['express', 'fastify'])('the exact statement log over %s', (adapter) => {
  let database: TestDatabase;
  let proxy: WireProxy;
  let app: TestApp;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    proxy = await WireProxy.start(database.url);
    app = await startApp({
      adapter,
      connections: [noteConnection(proxy.url)],
      controllers: [NotesController],
    });
  });

  afterAll(async () => {
    await app?.close();
    await proxy?.stop();
    await database?.drop();
  });

  beforeEach(() => proxy.reset());

  const verbs = (): (string | undefined)[] => proxy.log.map((sql) => sql.split(' ')[0]);

  it('L2: a route that does not touch the database sends nothing and takes no connection', async () => {
    expect((await app.fetch('/nothing')).status).toBe(200);
    expect(verbs()).toEqual([]);
    expect(proxy.openConnections).toBe(0);
    expect(app.connection().poolState()).toBeUndefined();
  });

  it('L3: a session that is only obtained sends nothing', async () => {
    expect((await app.fetch('/obtained')).status).toBe(200);
    expect(verbs()).toEqual([]);
  });

  it('L3: a read is begin, select, commit', async () => {
    expect((await app.fetch('/notes')).status).toBe(200);
    expect(verbs()).toEqual(['begin', 'select', 'commit']);
  });

  it('S3: a write that was only persisted is begin, insert, commit', async () => {
    const response = await app.fetch('/notes', { method: 'POST' });
    expect(response.status).toBe(201);
    expect(verbs()).toEqual(['begin', 'insert', 'commit']);
    const { id } = (await response.json()) as Note;
    expect(await database.query('select id from note where id = $1', [id])).toHaveLength(1);
  });

  it('S2: a read that fails afterwards is begin, select, rollback', async () => {
    expect((await app.fetch('/refused')).status).toBe(403);
    expect(verbs()).toEqual(['begin', 'select', 'rollback']);
  });
});
