import type { EntityManager } from '@mikro-orm/postgresql';
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
  FURTHER_SCHEMA,
  SEQUENCES_ABOVE_FIXTURES,
  SHOP_TABLES,
} from './schema.js';

/** One way to start each test from the same data. */
export interface Way extends Bench {
  readonly name: string;
  before(): Promise<void>;
  after(): Promise<void>;
  readonly close: () => Promise<void>;
}

/** All transactions of a test are one, which is rolled back. */
export async function sharedWay(urls: DatabaseUrls): Promise<Way> {
  const { bench, close } = await openBench(urls);
  let db: TestTransaction | undefined;
  return {
    ...bench,
    name: 'one shared transaction, rolled back',
    session: () => db!.session(),
    before: async () => {
      db = await TestTransaction.begin(bench.app);
    },
    after: () => db!.end(),
    close: close,
  };
}

/** The tables are emptied by these statements, and the fixtures inserted, after each test. */
export async function cleaningWay(
  name: string,
  empty: (tables: readonly string[]) => string,
  urls: DatabaseUrls,
): Promise<Way> {
  const { bench, shop, audit, close } = await openBench(urls);
  // As fast as it gets: one message for each database, on connections that stay open.
  const cleanShop = `${empty(SHOP_TABLES)}; ${FIXTURES}`;
  const cleanAudit = empty(AUDIT_TABLES);
  return {
    ...bench,
    name,
    before: () => Promise.resolve(),
    after: async () => {
      await Promise.all([shop.query(cleanShop), audit.query(cleanAudit)]);
    },
    close: close,
  };
}

interface OpenBench {
  readonly bench: Bench;
  readonly shop: Client;
  readonly audit: Client;
  readonly close: () => Promise<void>;
}

/** An application on two databases of its own, with tables and fixtures. */
async function openBench(urls: DatabaseUrls): Promise<OpenBench> {
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
  await shop.query(`${FURTHER_SCHEMA}; ${FIXTURES}; ${SEQUENCES_ABOVE_FIXTURES}`);
  await app.listen(0, '127.0.0.1');
  return {
    bench: {
      app,
      url: await app.getUrl(),
      session: () => orm('default').em.fork(),
    },
    shop,
    audit,
    close: async () => {
      await app.close();
      await shop.end();
      await audit.end();
    },
  };
}
