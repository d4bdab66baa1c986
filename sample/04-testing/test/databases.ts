import { createHash } from 'node:crypto';

import { MikroORM, type Options } from '@mikro-orm/postgresql';
import { createWorkerDatabase } from 'nestjs-db-context/testing';
import { Client } from 'pg';

import { auditOptions, shopOptions } from '../connections.js';
import { FIXTURES, insertFixtures } from '../fixtures.js';

/** A database of this worker, and a view on it past the application. */
export interface SpecDatabase {
  readonly url: string;
  /** Runs a statement on a connection of its own. */
  query(sql: string): Promise<Record<string, unknown>[]>;
  /** Leaves the tables and the fixtures alone. */
  reset(): Promise<void>;
  drop(): Promise<void>;
}

/** Those of the shop and of the audit, with tables and fixtures. */
export async function openDatabases(): Promise<readonly [SpecDatabase, SpecDatabase]> {
  return [
    await openDatabase('sample_shop', shopOptions, {
      version: JSON.stringify(FIXTURES),
      fill: (orm) => insertFixtures(orm.em.fork()),
    }),
    await openDatabase('sample_audit', auditOptions, {
      version: '',
      fill: () => Promise.resolve(),
    }),
  ];
}

interface Fixtures {
  /** Another one for other fixtures. */
  readonly version: string;
  readonly fill: (orm: MikroORM) => Promise<void>;
}

async function openDatabase(
  name: string,
  optionsFor: (url: string) => Options,
  { version, fill }: Fixtures,
): Promise<SpecDatabase> {
  const serverUrl = process.env['DB_CONTEXT_TEST_URL'];
  if (serverUrl === undefined) {
    throw new Error(
      'DB_CONTEXT_TEST_URL is not set; the global set-up of the test runner sets it.',
    );
  }
  const tables = await withOrm(optionsFor(serverUrl), (orm) => orm.schema.getCreateSchemaSQL());
  const database = await createWorkerDatabase({
    serverUrl,
    template: {
      name,
      // With other tables or fixtures no old template is copied.
      version: createHash('sha256').update(tables).update(version).digest('hex'),
      prepare: (url) =>
        withOrm(optionsFor(url), async (orm) => {
          await orm.schema.create();
          await fill(orm);
        }),
    },
  });
  return {
    url: database.url,
    query: (sql) => queryOn(database.url, sql),
    reset: () => database.reset(),
    drop: () => database.drop(),
  };
}

async function withOrm<T>(options: Options, work: (orm: MikroORM) => Promise<T>): Promise<T> {
  const orm = new MikroORM(options);
  try {
    return await work(orm);
  } finally {
    await orm.close();
  }
}

async function queryOn(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}
