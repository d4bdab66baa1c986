import { Test } from '@nestjs/testing';
import { getConnectionToken, type DbConnection } from 'nestjs-db-context';
import { TestTransaction } from 'nestjs-db-context/testing';
import { Client } from 'pg';

import { AppModule, type DatabaseUrls } from '../app.module.js';
import { PaymentGateway } from '../payments/payment.gateway.js';
import type { Bench } from './bodies.js';
import {
  AUDIT_TABLES,
  FIXTURES,
  SEQUENCES_ABOVE_FIXTURES,
  shopSchema,
  type ShopSchema,
} from './schema.js';

/** One way to start each test from the same data. */
export interface Way extends Bench {
  readonly name: string;
  before(): Promise<void>;
  after(): Promise<void>;
  /** Called after the time of the test. */
  tidy(): Promise<void>;
  readonly close: () => Promise<void>;
}

/** The databases of a way, and how many tables they have. */
export interface WayOptions {
  readonly urls: DatabaseUrls;
  readonly tables: number;
}

const nothing = (): Promise<void> => Promise.resolve();

/** All transactions of a test are one, which is rolled back. */
export async function sharedWay(options: WayOptions): Promise<Way> {
  const { bench, close } = await openBench(options);
  let db: TestTransaction | undefined;
  return {
    ...bench,
    name: 'one shared transaction, rolled back',
    session: () => db!.session(),
    before: async () => {
      db = await TestTransaction.begin(bench.app);
    },
    after: () => db!.end(),
    tidy: nothing,
    close,
  };
}

/** Nothing is done around a test: what the others are measured by. It is cleaned up past the clock. */
export async function unwrappedWay(options: WayOptions): Promise<Way> {
  const way = await cleaningWay('no clean-up (not to be had)', emptyByDelete, options);
  return { ...way, after: nothing, tidy: () => way.after() };
}

/** The tables are emptied by these statements, and the fixtures inserted, after each test. */
export async function cleaningWay(
  name: string,
  empty: (tables: readonly string[]) => string,
  options: WayOptions,
): Promise<Way> {
  const { bench, shop, audit, schema, close } = await openBench(options);
  // As fast as it gets: one message for each database, on connections that stay open.
  const cleanShop = `${empty(schema.tables)}; ${FIXTURES}`;
  const cleanAudit = empty(AUDIT_TABLES);
  return {
    ...bench,
    name,
    before: nothing,
    after: async () => {
      await Promise.all([shop.query(cleanShop), audit.query(cleanAudit)]);
    },
    tidy: nothing,
    close,
  };
}

export function emptyByTruncate(tables: readonly string[]): string {
  return `truncate ${tables.join(', ')}`;
}

export function emptyByDelete(tables: readonly string[]): string {
  return tables
    .toReversed()
    .map((table) => `delete from ${table}`)
    .join('; ');
}

interface OpenBench {
  readonly bench: Bench;
  readonly shop: Client;
  readonly audit: Client;
  readonly schema: ShopSchema;
  readonly close: () => Promise<void>;
}

/** An application on two databases of its own, with tables and fixtures. */
async function openBench({ urls, tables }: WayOptions): Promise<OpenBench> {
  const schema = shopSchema(tables);
  const testingModule = await Test.createTestingModule({ imports: [AppModule.register(urls)] })
    .overrideProvider(PaymentGateway)
    .useValue({ charge: () => Promise.resolve(true) })
    .compile();
  const app = testingModule.createNestApplication({ logger: false, forceCloseConnections: true });
  const orm = (name: string): DbConnection['orm'] =>
    app.get<DbConnection>(getConnectionToken(name)).orm;
  await orm('default').schema.create();
  await orm('audit').schema.create();
  const shop = new Client({ connectionString: urls.shopUrl });
  const audit = new Client({ connectionString: urls.auditUrl });
  await shop.connect();
  await audit.connect();
  await shop.query(`${schema.sql}; ${FIXTURES}; ${SEQUENCES_ABOVE_FIXTURES}`);
  await app.listen(0, '127.0.0.1');
  return {
    bench: {
      app,
      url: await app.getUrl(),
      session: () => orm('default').em.fork(),
    },
    shop,
    audit,
    schema,
    close: async () => {
      await app.close();
      await shop.end();
      await audit.end();
    },
  };
}
