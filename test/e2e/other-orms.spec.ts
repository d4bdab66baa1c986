/** ORMs of other databases that have the same context name, `default`, and that no connection of the context is of. */
import { RequestContext } from '@mikro-orm/core';
import { defineConfig, MikroORM, type EntityManager } from '@mikro-orm/postgresql';
import type { DbConnectionOptions } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { startApp, type TestApp } from '../support/test-app.js';

const insert = (em: EntityManager): Promise<unknown> => em.insert(Note, { text: 'other' });

/** Ways to write by an entity manager that belongs to no context. */
const WAYS: Readonly<Record<string, (em: EntityManager) => Promise<unknown>>> = {
  'em.insert()': insert,
  'em.execute()': (em) => em.execute("insert into note (text) values ('other')"),
  'em.getKysely()': (em) =>
    em
      .getKysely<{ note: { text: string } }>()
      .insertInto('note')
      .values({ text: 'other' })
      .execute(),
  'em.fork().insert()': (em) => insert(em.fork()),
  'em.fork().flush()': async (em) => {
    const fork = em.fork();
    fork.create(Note, { text: 'other' });
    await fork.flush();
  },
  'em.fork().transactional()': (em) => em.fork().transactional(insert),
  'em.transactional()': (em) => em.transactional(insert),
  'em.fork({ useContext: true })': (em) => insert(em.fork({ useContext: true })),
  'a request context of its own': (em) => RequestContext.create(em, () => insert(em)),
};

describe.each(['of nobody', 'of another application', 'of another application that has closed'])(
  'an orm %s',
  (kind) => {
    let own: TestDatabase;
    let others: TestDatabase;
    let app: TestApp;
    let other: MikroORM;
    let otherApp: TestApp | undefined;

    beforeAll(async () => {
      [own, others] = await Promise.all([createTestDatabase(), createTestDatabase()]);
      await Promise.all([own.query(NOTE_SCHEMA), others.query(NOTE_SCHEMA)]);
      const connection = ({ url }: TestDatabase): DbConnectionOptions =>
        defineConfig({ clientUrl: url, entities: [Note], pool: { min: 0, max: 5 } });
      app = await startApp({ connections: [connection(own)] });
      other = await MikroORM.init(
        defineConfig({ clientUrl: others.url, entities: [Note], allowGlobalContext: true }),
      );
      if (kind !== 'of nobody') {
        otherApp = await startApp({ connections: [{ orm: other }] });
      }
      if (kind === 'of another application that has closed') {
        await otherApp?.close();
        otherApp = undefined;
      }
    });
    afterAll(async () => {
      await Promise.all([app?.close(), otherApp?.close()]);
      await other?.close();
      await Promise.all([own?.drop(), others?.drop()]);
    });
    beforeEach(() => Promise.all([own, others].map((each) => each.query('truncate note'))));

    const texts = async (database: TestDatabase): Promise<string[]> => {
      const rows = await database.query<{ text: string }>('select text from note order by id');
      return rows.map(({ text }) => text);
    };

    it.each(Object.keys(WAYS))('W2: works in its own database in a context, %s', async (way) => {
      await app.dbContext.run(async () => {
        await app.session().insert(Note, { text: 'own' });
        await WAYS[way]!(other.em);
      });
      expect([await texts(own), await texts(others)]).toEqual([['own'], ['other']]);
    });

    it.each(Object.keys(WAYS))('W2: is not part of what is rolled back, %s', async (way) => {
      const work = app.dbContext.run(async () => {
        await app.session().insert(Note, { text: 'own' });
        await WAYS[way]!(other.em);
        throw new Error('refused');
      });
      await expect(work).rejects.toThrow(new Error('refused'));
      expect([await texts(own), await texts(others)]).toEqual([[], ['other']]);
    });

    it.each(Object.keys(WAYS))('W2: is not in a transaction of the session, %s', async (way) => {
      await app.dbContext.run(() =>
        app.session().transactional(async (em) => {
          await em.insert(Note, { text: 'own' });
          await WAYS[way]!(other.em);
        }),
      );
      expect([await texts(own), await texts(others)]).toEqual([['own'], ['other']]);
    });

    it('W2: does not make a session of the context', async () => {
      await app.dbContext.run(async () => {
        await insert(other.em);
        expect(app.pool().checkedOut).toBe(0);
      });
    });

    it('W2: is no session that has ended', async () => {
      let late: Promise<unknown> | undefined;
      await app.dbContext.run(async () => {
        await app.session().count(Note);
        late = new Promise((resolve) => setImmediate(resolve)).then(() => insert(other.em));
      });
      await late;
      expect(await texts(others)).toEqual(['other']);
    });

    it('W2: in the request context of the application, the sessions are found as before', async () => {
      await app.dbContext.run(async () => {
        const session = RequestContext.getEntityManager();
        await session!.insert(Note, { text: 'own' });
        await RequestContext.create(other.em, async () => {
          await insert(RequestContext.getEntityManager() as EntityManager);
          expect(await other.em.count(Note)).toBe(1);
        });
      });
      expect([await texts(own), await texts(others)]).toEqual([['own'], ['other']]);
    });
  },
);
