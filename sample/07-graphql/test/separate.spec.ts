import type { INestApplication } from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { PubSub } from 'graphql-subscriptions';

import { createTestDatabase, type TestDatabase } from '../../../test/support/database.js';
import { waitFor } from '../../../test/support/wait-for.js';
import { WireProxy } from '../../../test/support/wire-proxy.js';
import { createTables } from '../../starter/create-tables.js';
import { send } from '../../starter/walkthrough.js';
import { AppModule, type ServerName } from '../app.module.js';
import { listen, type Listener } from '../listen.js';
import { STEPS } from '../steps.js';

describe.each<ServerName>(['apollo', 'mercurius'])('sample 07-graphql over %s', (server) => {
  let database: TestDatabase;
  let proxy: WireProxy;
  let app: INestApplication;
  let listener: Listener | undefined;

  beforeAll(async () => {
    database = await createTestDatabase();
    proxy = await WireProxy.start(database.url);
    const testingModule = await Test.createTestingModule({
      imports: [AppModule.register({ databaseUrl: proxy.url, server })],
    }).compile();
    app = testingModule.createNestApplication(
      (server === 'apollo' ? new ExpressAdapter() : new FastifyAdapter()) as never,
      { logger: false, forceCloseConnections: true },
    );
    await createTables(app, 'default', 'DATABASE_URL');
    await app.listen(0, '127.0.0.1');
  });

  afterAll(async () => {
    await listener?.stop();
    await app?.close();
    await proxy?.stop();
    await database?.drop();
  });

  it('answers what its walkthrough says, with a transaction for each operation and event', async () => {
    const url = await app.getUrl();
    const books: object[] = [];
    listener = await listen(url, (answer) => books.push(answer));
    const { subscriptions } = app.get<{ subscriptions: object }>(PubSub);
    await waitFor(() => Object.keys(subscriptions).length > 0, { what: 'the subscription' });
    proxy.reset();
    const answers = [];
    for (const step of STEPS) {
      const response = await send(url, step);
      expect(response.status).toBe(step.status);
      answers.push(await response.json());
    }
    const [added, refused, listed] = answers;
    expect(added).toEqual({ data: { addAuthor: { id: 1 }, addBook: { id: 1 } } });
    expect(refused).toMatchObject({
      data: { other: null },
      errors: [{ path: ['other'] }, { extensions: { code: 'ROLLED_BACK' } }],
    });
    expect(listed).toEqual({
      data: {
        bookCount: 1,
        authors: [{ name: 'Ada', books: [{ title: 'Notes', author: { name: 'Ada' } }] }],
      },
    });
    await waitFor(() => books.length > 0, { what: 'the event' });
    expect(books).toEqual([{ data: { bookAdded: { title: 'Notes', author: { name: 'Ada' } } } }]);
    expect(proxy.log.filter((sql) => /^begin\b/i.test(sql))).toHaveLength(4);
  });
});
