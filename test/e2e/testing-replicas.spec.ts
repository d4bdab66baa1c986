import { defineConfig, type EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, Post } from '@nestjs/common';
import { DbTransaction, InjectSession } from 'nestjs-db-context';
import { useTestTransaction } from 'nestjs-db-context/testing';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { startApp, type TestApp } from '../support/test-app.js';

@Controller('notes')
class NotesController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post()
  write(): void {
    this.session.persist(new Note('shared'));
  }

  @DbTransaction({ readOnly: true })
  @Get()
  count(): Promise<number> {
    return this.session.count(Note);
  }
}

describe('a test that shares its transaction, of an application with replicas', () => {
  let database: TestDatabase;
  let app: TestApp;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    app = await startApp({
      connections: [
        {
          ...defineConfig({
            clientUrl: database.url,
            // Nobody is there.
            replicas: [{ host: '127.0.0.1', port: 1 }],
            entities: [Note],
          }),
          readFrom: { fallback: 'error' },
          readYourWrites: { via: 'cookie' },
        },
      ],
      controllers: [NotesController],
    });
  });

  afterAll(async () => {
    await app.close();
    await database.drop();
  });

  useTestTransaction(() => app.app);

  it.each(['once', 'twice'])('reads in it what it wrote, and leaves nothing (%s)', async () => {
    expect(await (await app.fetch('/notes')).json()).toBe(0);
    const response = await app.fetch('/notes', { method: 'POST' });
    expect(response.status).toBe(201);
    expect(response.headers.getSetCookie()).toEqual([
      expect.stringMatching(/^db-position-default=/),
    ]);
    expect(await (await app.fetch('/notes')).json()).toBe(1);
    expect(await database.query('select from note')).toEqual([]);
  });
});
