/** Sessions of one shape: V8 optimises MikroORM's code for a few shapes, and throws it away with them. */
import { setFlagsFromString } from 'node:v8';

import type { EntityManager } from '@mikro-orm/postgresql';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';

setFlagsFromString('--allow-natives-syntax');
// oxlint-disable-next-line typescript/no-implied-eval -- V8's own functions have no other syntax
const haveSameShape = new Function('one', 'other', 'return %HaveSameMap(one, other)') as (
  one: object,
  other: object,
) => boolean;

describe('entity managers of sessions', () => {
  let database: TestDatabase;
  let app: TestApp;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    app = await startApp({ connections: [noteConnection(database.url)] });
  });
  afterAll(async () => {
    await app?.close();
    await database?.drop();
  });

  it('have one shape, whatever was done with them', async () => {
    const managers: Record<string, EntityManager> = {};
    await app.dbContext.run(async () => {
      // Behind the handle that is injected.
      managers['used'] = app.session().getContext();
      managers['used'].persist(new Note('flushed'));
      await managers['used'].flush();
      await managers['used'].transactional(async (fork) => {
        managers['nested'] = fork;
        fork.persist(new Note('nested'));
        await fork.flush();
      });
    });
    await app.dbContext.run(() => {
      managers['new'] = app.session().getContext();
      managers['forked'] = managers['new'].fork();
    });
    const { used, ...others } = managers;
    for (const [name, manager] of Object.entries(others)) {
      expect([name, haveSameShape(used!, manager)]).toEqual([name, true]);
    }
  });
});
