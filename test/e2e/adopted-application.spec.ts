import type { AddressInfo } from 'node:net';

import { MikroORM } from '@mikro-orm/postgresql';
import type { INestApplication, NestApplicationOptions } from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { DbContextModule, type DbContextOptions } from 'nestjs-db-context';
import { TestTransaction } from 'nestjs-db-context/testing';

import { ADOPTED_SCHEMA, adoptedImports, Entry } from '../support/adopted-app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

type Adapter = 'express' | 'fastify';

/** The two lines that are added to the AppModule. */
const adopted = (options: DbContextOptions = {}): ReturnType<typeof DbContextModule.forRootAsync> =>
  DbContextModule.forRootAsync({
    inject: [MikroORM],
    useFactory: (orm: MikroORM) => ({ watch: false, ...options, connections: [{ orm }] }),
  });

const OURS = {
  'as it was': [],
  'taken over': [adopted()],
  'taken over, with mount: middleware': [adopted({ mount: 'middleware' })],
};

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
  await database.query(ADOPTED_SCHEMA);
});
afterAll(() => database.drop());

const applications = (Object.keys(OURS) as (keyof typeof OURS)[]).flatMap((how) =>
  (['express', 'fastify'] as const).map((adapter) => ({ how, adapter })),
);

describe.each(applications)(
  'an application on @mikro-orm/nestjs, $how, $adapter',
  ({ how, adapter }) => {
    let app: INestApplication;
    let url: string;
    const isAdopted = how !== 'as it was';

    beforeAll(async () => {
      app = await start(adapter, OURS[how]);
      const { port } = app.getHttpServer().address() as AddressInfo;
      url = `http://127.0.0.1:${port}/publishers`;
    });
    afterAll(() => app.close());
    beforeEach(() => database.query('truncate publisher, title, entry restart identity'));

    const send = async (
      method: string,
      path = '',
      body?: object,
    ): Promise<{ status: number; body: unknown }> => {
      const response = await fetch(`${url}${path}`, {
        method,
        ...(body !== undefined && {
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(body),
        }),
      });
      return { status: response.status, body: await response.json() };
    };
    const entries = async (): Promise<string[]> =>
      (await database.query<{ text: string }>('select text from entry order by id')).map(
        ({ text }) => text,
      );
    /** The transactions that have written the rows that are there; plain MikroORM has one for each flush. */
    const transactions = async (): Promise<string[]> =>
      (
        await database.query<{ xmin: string }>(
          `select xmin::text from publisher union select xmin::text from title
         union select xmin::text from entry`,
        )
      ).map(({ xmin }) => xmin);

    it('saves what is persisted and flushed', async () => {
      expect(await send('POST', '', { name: 'a' })).toEqual({ status: 201, body: { id: 1 } });
      expect(await send('GET')).toEqual({ status: 200, body: ['a: 0'] });
      expect(await entries()).toEqual(['created 1']);
      expect(await transactions()).toHaveLength(isAdopted ? 1 : 2);
    });

    it('saves through a repository that is injected by its class', async () => {
      await send('POST', '', { name: 'a' });
      await database.query('truncate entry');
      expect(await send('PATCH', '/1', { name: 'b' })).toEqual({
        status: 200,
        body: { name: 'b' },
      });
      expect(await send('GET')).toEqual({ status: 200, body: ['b: 0'] });
      expect(await transactions()).toHaveLength(isAdopted ? 1 : 2);
    });

    it('answers a constraint that a flush has met', async () => {
      await send('POST', '', { name: 'a' });
      expect(await send('POST', '', { name: 'a' })).toMatchObject({
        status: 409,
        body: { message: 'The name is taken' },
      });
      expect(await send('GET')).toEqual({ status: 200, body: ['a: 0'] });
    });

    it('saves all of a method with @Transactional()', async () => {
      await send('POST', '', { name: 'a' });
      await database.query('truncate entry');
      expect(await send('POST', '/1/titles', { texts: ['x', 'y'] })).toEqual({
        status: 201,
        body: ['x', 'y'],
      });
      expect(await entries()).toEqual(['published 2']);
      const writers = await database.query<{ xmin: string }>(
        'select distinct xmin::text from title union select xmin::text from entry',
      );
      expect(writers).toHaveLength(1);
    });

    it('saves nothing of one that throws', async () => {
      await send('POST', '', { name: 'a' });
      expect(await send('POST', '/1/titles', { texts: ['x', ''] })).toMatchObject({ status: 400 });
      expect(await send('POST', '/2/titles', { texts: ['x'] })).toMatchObject({ status: 404 });
      expect(await send('GET', '/1/titles')).toEqual({ status: 200, body: [] });
      expect(await entries()).toEqual(['created 1']);
    });

    it('undoes what em.transactional() cannot write, and keeps the rest', async () => {
      await send('POST', '', { name: 'a' });
      expect(await send('POST', '/1/import', { texts: ['x', null, 'y'] })).toEqual({
        status: 201,
        body: { written: 2 },
      });
      expect(await send('GET', '/1/titles')).toEqual({ status: 200, body: ['x', 'y'] });
      expect(await entries()).toEqual(['created 1', 'imported 2']);
    });

    it('serves requests at the same time, each with its own entities', async () => {
      const names = ['a', 'b', 'c', 'd', 'e', 'f'];
      await Promise.all(names.map((name) => send('POST', '', { name })));
      const { body } = await send('GET');
      expect((body as string[]).toSorted()).toEqual(names.map((name) => `${name}: 0`));
      expect(await transactions()).toHaveLength(names.length * (isAdopted ? 1 : 2));
    });

    if (!isAdopted) {
      return;
    }

    it('W2: undoes all writes of a request that fails', async () => {
      await send('POST', '', { name: 'a' });
      // The journal is written by a flush, and then the commit is refused.
      const events = app.get(MikroORM).em.getEventManager();
      const subscriber = {
        beforeTransactionCommit: () => Promise.reject(new Error('refused')),
      };
      events.registerSubscriber(subscriber);
      try {
        expect(await send('PATCH', '/1', { name: 'b' })).toMatchObject({ status: 500 });
      } finally {
        events.getSubscribers().delete(subscriber);
      }
      expect(await entries()).toEqual(['created 1']);
      expect(await send('GET')).toEqual({ status: 200, body: ['a: 0'] });
    });

    it('T1: a test transaction reaches all of it', async () => {
      const db = await TestTransaction.begin(app);
      try {
        await send('POST', '', { name: 'a' });
        await send('POST', '/1/titles', { texts: ['x'] });
        await app.get(MikroORM).em.fork().insert(Entry, { text: 'outside of a context' });
        expect(await db.session().find(Entry, {}, { orderBy: { id: 'asc' } })).toMatchObject([
          { text: 'created 1' },
          { text: 'published 1' },
          { text: 'outside of a context' },
        ]);
        expect(await entries()).toEqual([]);
      } finally {
        await db.end();
      }
      expect(await entries()).toEqual([]);
    });
  },
);

async function start(
  adapter: Adapter,
  ours: readonly ReturnType<typeof DbContextModule.forRootAsync>[],
): Promise<INestApplication> {
  const testing = await Test.createTestingModule({
    imports: [...adoptedImports(database.url), ...ours],
  }).compile();
  const app = testing.createNestApplication(
    (adapter === 'express' ? new ExpressAdapter() : new FastifyAdapter()) as never,
    { logger: false, forceCloseConnections: true } as NestApplicationOptions,
  );
  await app.listen(0, '127.0.0.1');
  return app;
}
