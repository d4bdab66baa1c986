import { deepEqual, equal, rejects } from 'node:assert/strict';

import type { INestApplication } from '@nestjs/common';
import { DbContext, DbContextNotActiveError, getSessionToken } from 'nestjs-db-context';
import { TestTransaction } from 'nestjs-db-context/testing';

import { APPLICATION_NAME, LastConsumer } from './app.module.js';
import { Note } from './note.entity.js';

/** A running application, and a view on its database past the code under test. */
export interface World {
  readonly app: INestApplication;
  readonly url: string;
  readonly query: (sql: string) => Promise<Record<string, unknown>[]>;
}

export interface KeptPromise {
  readonly title: string;
  readonly prove: (world: World) => Promise<void>;
}

async function backends({ query }: World): Promise<unknown> {
  const [row] = await query(
    `select count(*)::int as count from pg_stat_activity where application_name = '${APPLICATION_NAME}'`,
  );
  return row?.['count'];
}

async function texts({ query }: World): Promise<unknown[]> {
  return (await query('select text from note order by id')).map((row) => row['text']);
}

async function post({ url }: World, path: string, text: string): Promise<number> {
  const response = await fetch(`${url}/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ text }),
  });
  await response.arrayBuffer();
  return response.status;
}

/** In this order: the first ones need an application that has not connected yet. */
export const PROMISES: readonly KeptPromise[] = [
  {
    title: 'L2, L3: neither a request without a session nor an unused session connects',
    prove: async (world) => {
      equal(await (await fetch(`${world.url}/idle`)).text(), 'idle');
      equal(await (await fetch(`${world.url}/lazy`)).text(), 'default');
      equal(await backends(world), 0);
    },
  },
  {
    title:
      'S1, S3: what was inserted and persisted is committed before the answer, in one transaction',
    prove: async (world) => {
      equal(await post(world, 'notes', 'a'), 201);
      deepEqual(await texts(world), ['a', 'a, persisted']);
      const transactions = await world.query('select distinct xid from note');
      equal(transactions.length, 1);
    },
  },
  {
    title: 'S2: what the handler throws rolls back',
    prove: async (world) => {
      equal(await post(world, 'failing', 'failing'), 500);
      deepEqual(await texts(world), ['a', 'a, persisted']);
    },
  },
  {
    title: 'S1: a COMMIT that fails is an error, and no 2xx',
    prove: async (world) => {
      equal(await post(world, 'notes', 'a'), 500);
      deepEqual(await texts(world), ['a', 'a, persisted']);
    },
  },
  {
    title: 'L3: a request that reads sees what was committed, and gives its connection back',
    prove: async (world) => {
      deepEqual(await (await fetch(`${world.url}/count`)).json(), { count: 2 });
      const open = await world.query(
        `select pid from pg_stat_activity
         where application_name = '${APPLICATION_NAME}' and xact_start is not null`,
      );
      deepEqual(open, []);
    },
  },
  {
    title: 'C2, C3: a part is undone by itself, a context of its own commits by itself',
    prove: async (world) => {
      await world.query('truncate note');
      equal(await post(world, 'undone-part', 'b'), 201);
      deepEqual(await texts(world), ['b', 'b, on its own']);
      equal((await world.query('select distinct xid from note')).length, 2);
    },
  },
  {
    title: 'S5: a session outside of any context says so',
    prove: async ({ app }) => {
      const session = app.get<{ find(entity: unknown, where: object): Promise<unknown> }>(
        getSessionToken(),
      );
      await rejects(async () => session.find(Note, {}), DbContextNotActiveError);
      equal(app.get(DbContext).isActive(), false);
    },
  },
  {
    title: 'T1: nothing that belongs to a test transaction is committed',
    prove: async (world) => {
      await world.query('truncate note');
      const transaction = await TestTransaction.begin(world.app);
      equal(await post(world, 'notes', 'test'), 201);
      deepEqual(await (await fetch(`${world.url}/count`)).json(), { count: 2 });
      deepEqual(await texts(world), []);
      await transaction.end();
      deepEqual(await (await fetch(`${world.url}/count`)).json(), { count: 0 });
    },
  },
  {
    title: 'H3: app.close() closes the pool last, and leaves no connection',
    prove: async (world) => {
      const last = world.app.get(LastConsumer);
      await world.app.close();
      equal(last.wasOpen, true);
      // The server notices the end of a connection a moment after the client.
      for (let tries = 0; tries < 500 && (await backends(world)) !== 0; tries++);
      equal(await backends(world), 0);
    },
  },
];
