import type { Options } from '@mikro-orm/postgresql';
import { createWorkerDatabase, templateOf, type TemplateSources } from 'nestjs-db-context/testing';
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
    await openDatabase(shopOptions, {
      name: 'sample_shop',
      seed: insertFixtures,
      // The source of insertFixtures() does not show which rows those are.
      dependsOn: FIXTURES,
    }),
    await openDatabase(auditOptions, { name: 'sample_audit' }),
  ];
}

async function openDatabase(
  optionsFor: (url: string) => Options,
  sources: TemplateSources,
): Promise<SpecDatabase> {
  const serverUrl = process.env['DB_CONTEXT_TEST_URL'];
  if (serverUrl === undefined) {
    throw new Error(
      'DB_CONTEXT_TEST_URL is not set; the global set-up of the test runner sets it.',
    );
  }
  const database = await createWorkerDatabase({
    serverUrl,
    template: templateOf(optionsFor(serverUrl), sources),
  });
  return {
    url: database.url,
    query: (sql) => queryOn(database.url, sql),
    reset: () => database.reset(),
    drop: () => database.drop(),
  };
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
