import type { INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';

import { AppModule } from '../app.module.js';
import { Mailer } from '../orders/mailer.js';
import { PaymentGateway } from '../payments/payment.gateway.js';
import { openDatabases, type SpecDatabase } from './databases.js';

/** The application on databases of its own, with doubles for what is outside of it. */
export interface Shop {
  readonly app: INestApplication;
  readonly url: string;
  /** Direct views on the databases, past the application. */
  readonly database: SpecDatabase;
  readonly auditDatabase: SpecDatabase;
  readonly doubles: Doubles;
  post(path: string, body?: object, headers?: Readonly<Record<string, string>>): Promise<Response>;
  /** For tests that really commit. */
  reset(): Promise<void>;
  close(): Promise<void>;
}

interface Doubles {
  /** What was sent, in place of a mail. */
  readonly mails: string[];
  /** Called as a mail is sent; replace it in a test. */
  onMail: () => Promise<void>;
  /** What the payment service does; replace it in a test. */
  charge: () => Promise<boolean>;
}

/** Starts the application. */
export async function openShop(): Promise<Shop> {
  const [database, auditDatabase] = await openDatabases();
  const doubles: Doubles = {
    mails: [],
    onMail: () => Promise.resolve(),
    charge: () => Promise.resolve(true),
  };
  const testingModule = await Test.createTestingModule({
    imports: [AppModule.register({ shopUrl: database.url, auditUrl: auditDatabase.url })],
  })
    .overrideProvider(Mailer)
    .useValue({
      send: async (to: string, text: string) => {
        doubles.mails.push(`${to}: ${text}`);
        await doubles.onMail();
      },
    })
    .overrideProvider(PaymentGateway)
    .useValue({ charge: () => doubles.charge() })
    .compile();
  const app = testingModule.createNestApplication({ logger: false, forceCloseConnections: true });
  await app.listen(0, '127.0.0.1');
  const url = await app.getUrl();
  return {
    app,
    url,
    database,
    auditDatabase,
    doubles,
    post: (path, body = {}, headers = {}) =>
      fetch(`${url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
      }),
    reset: async () => {
      await database.reset();
      await auditDatabase.reset();
    },
    close: async () => {
      await app.close();
      await database.drop();
      await auditDatabase.drop();
    },
  };
}
