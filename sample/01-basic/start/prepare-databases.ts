import type { INestApplicationContext } from '@nestjs/common';
import { DbContext } from 'nestjs-db-context';

import { createTables } from '../../starter/create-tables.js';
import { Account } from '../accounts/account.entity.js';
import { hashPin } from '../accounts/pin.js';

/** Creates what is missing of the tables and, where there are none, the accounts. */
export async function prepareDatabases(app: INestApplicationContext): Promise<void> {
  await createTables(app, 'default', 'DATABASE_URL');
  await createTables(app, 'audit', 'AUDIT_DATABASE_URL');
  await seed(app.get(DbContext));
}

async function seed(dbContext: DbContext): Promise<void> {
  // There is no request here, so run() opens the context, and commits it.
  await dbContext.run(async () => {
    const session = dbContext.session();
    if ((await session.count(Account)) > 0) {
      return;
    }
    for (const [owner, pin] of [
      ['Ada', '1815'],
      ['Grace', '1906'],
      ['Edsger', '1930'],
    ] as const) {
      const key = `${owner.toLowerCase()}-key`;
      session.persist(new Account(owner, 100_00, key, await hashPin(pin)));
    }
  });
}
