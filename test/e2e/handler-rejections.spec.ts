import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Post, UseInterceptors, type NestInterceptor } from '@nestjs/common';
import { InjectSession, UseAfterCommit } from 'nestjs-db-context';
import { mergeMap, of } from 'rxjs';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type AdapterName, type TestApp } from '../support/test-app.js';
import { UnhandledRejections } from '../support/unhandled-rejections.js';

/** Waits for the parts of an answer, as the fields of GraphQL do. */
const settleParts: NestInterceptor = {
  intercept: (_context, next) =>
    next
      .handle()
      .pipe(mergeMap((parts) => Promise.allSettled(parts as readonly Promise<unknown>[]))),
};

@Controller()
class PartsController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @UseInterceptors(settleParts)
  @Post('inside')
  inside(): unknown {
    this.session.persist(new Note('inside'));
    return this.#parts();
  }

  @UseInterceptors(settleParts)
  @Post('observable')
  observable(): unknown {
    this.session.persist(new Note('observable'));
    return of(this.#parts());
  }

  @UseAfterCommit(settleParts)
  @Post('around')
  async around(): Promise<unknown> {
    this.session.persist(new Note('around'));
    return this.#parts();
  }

  #parts(): unknown {
    return [Promise.resolve(1), Promise.reject(new Error('no such part'))];
  }
}

describe.each<AdapterName>(['express', 'fastify'])('promises in an answer over %s', (adapter) => {
  const unhandled = new UnhandledRejections();
  let database: TestDatabase;
  let app: TestApp;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    app = await startApp({
      adapter,
      connections: [noteConnection(database.url)],
      controllers: [PartsController],
    });
    unhandled.start();
  });
  afterAll(async () => {
    unhandled.stop();
    await app?.close();
    await database?.drop();
  });

  beforeEach(() => {
    unhandled.reasons.length = 0;
  });

  it.each(['inside', 'observable', 'around'])(
    'S3: one that has failed waits for the interceptor that reads it (%s)',
    async (route) => {
      const response = await app.fetch(`/${route}`, { method: 'POST' });
      expect([response.status, await response.json()]).toEqual([
        201,
        [
          { status: 'fulfilled', value: 1 },
          { status: 'rejected', reason: {} },
        ],
      ]);
      expect(unhandled.reasons).toEqual([]);
      expect(await database.query('select text from note where text = $1', [route])).toHaveLength(
        1,
      );
    },
  );
});
