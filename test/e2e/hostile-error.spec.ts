import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Param, Post } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';
import { DbContextInspectorModule } from 'nestjs-db-context/inspector';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type AdapterName, type TestApp } from '../support/test-app.js';

const refuse = (): never => {
  throw new Error('this property cannot be read');
};

/** What code that looks for a status, a code or a message fails on. */
const UNREADABLE = {
  object: () => new Proxy({}, { get: refuse }),
  error: () =>
    Object.defineProperties(new Error(), { code: { get: refuse }, message: { get: refuse } }),
};

@Controller('notes')
class NotesController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post('unreadable/:kind')
  async unreadable(@Param('kind') kind: keyof typeof UNREADABLE): Promise<never> {
    await this.session.insert(Note, { text: 'dropped' });
    throw UNREADABLE[kind]();
  }

  @Post()
  async create(): Promise<void> {
    await this.session.insert(Note, { text: 'kept' });
  }
}

describe.each<AdapterName>(['express', 'fastify'])('what is thrown over %s', (adapter) => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
  });
  afterAll(() => database.drop());

  it.each(['interceptor', 'middleware'] as const)(
    'F1: is rolled back and answered, although no property of it can be read (mount: %s)',
    async (mount) => {
      const app: TestApp = await startApp({
        adapter,
        mount,
        watch: true,
        connections: [noteConnection(database.url, { poolMax: 1 })],
        controllers: [NotesController],
        imports: [DbContextInspectorModule.forRoot()],
      });
      const post = async (path: string): Promise<readonly [number, string]> => {
        const signal = AbortSignal.timeout(3_000);
        const answer = await app.fetch(path, { method: 'POST', signal });
        return [answer.status, await answer.text()];
      };
      try {
        for (const kind of ['object', 'error']) {
          expect(await post(`/notes/unreadable/${kind}`)).toEqual([
            500,
            '{"statusCode":500,"message":"Internal server error"}',
          ]);
          expect(app.pool().checkedOut).toBe(0);
        }
        expect(await post('/notes')).toEqual([201, '']);
        expect(await database.query('delete from note returning text')).toEqual([{ text: 'kept' }]);
      } finally {
        await app.close();
      }
    },
  );
});
