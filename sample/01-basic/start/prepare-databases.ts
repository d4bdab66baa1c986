import type { EntityManager } from '@mikro-orm/postgresql';
import type { INestApplicationContext } from '@nestjs/common';
import {
  ConnectionFailedError,
  DbContext,
  getConnectionToken,
  type DbConnection,
} from 'nestjs-db-context';

import { Account } from '../accounts/account.entity.js';
import { hashPin } from '../accounts/pin.js';

/** Creates what is missing of the tables and, where there are none, the accounts. */
export async function prepareDatabases(app: INestApplicationContext): Promise<void> {
  for (const name of ['default', 'audit']) {
    await requireDatabase(app.get(DbContext), name);
    // `safe`: on a server of your own, nothing that is there already is dropped.
    await app.get<DbConnection>(getConnectionToken(name)).orm.schema.update({ safe: true });
  }
  await seed(app.get(DbContext));
}

async function requireDatabase(dbContext: DbContext, name: string): Promise<void> {
  try {
    await dbContext.run(() => dbContext.session<EntityManager>(name).execute('select 1'));
  } catch (error) {
    // 3D000, invalid_catalog_name: https://www.postgresql.org/docs/current/errcodes-appendix.html
    if (error instanceof ConnectionFailedError && sqlState(error.cause) === '3D000') {
      const variable = name === 'audit' ? 'AUDIT_DATABASE_URL' : 'DATABASE_URL';
      throw new Error(
        `${error.message}\nCreate that database first (createdb), or name another in ${variable}.`,
        { cause: error },
      );
    }
    throw error;
  }
}

function sqlState(error: unknown): unknown {
  return (error as { readonly code?: unknown } | undefined)?.code;
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
