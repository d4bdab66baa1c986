import { Module, type DynamicModule } from '@nestjs/common';
import { eq } from 'drizzle-orm';
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import { integer, pgTable, serial, text } from 'drizzle-orm/pg-core';
import { Pool } from 'pg';

import type { Answer } from '../answer.js';
import { POOL_SIZE, type Database } from '../orm.js';
import { Stack, type Accounts } from './stack.js';

const account = pgTable('account', {
  id: serial().primaryKey(),
  owner: text().notNull(),
  balance: integer().notNull(),
});

class DrizzleAccounts implements Accounts {
  constructor(private readonly tx: Pick<NodePgDatabase, 'select' | 'insert' | 'update'>) {}

  async find(id: number): Promise<Answer> {
    const [row] = await this.tx.select().from(account).where(eq(account.id, id)).limit(1);
    return row!;
  }

  insert(owner: string): Promise<unknown> {
    return this.tx.insert(account).values({ owner, balance: 0 }).returning({ id: account.id });
  }

  async increment({ id, balance }: Answer): Promise<Answer> {
    const changed = { balance: balance + 1 };
    await this.tx.update(account).set(changed).where(eq(account.id, id));
    return { id, ...changed };
  }
}

/** `db.transaction()` by hand, and its `tx` handed on. */
class DrizzleStack extends Stack {
  constructor(private readonly db: NodePgDatabase) {
    super();
  }

  override inTransaction<T>(work: (accounts: Accounts) => Promise<T>): Promise<T> {
    return this.db.transaction((tx) => work(new DrizzleAccounts(tx)));
  }
}

@Module({})
export class DrizzleStackModule {
  static register({ clientUrl }: Database): DynamicModule {
    const pool = new Pool({ connectionString: clientUrl, max: POOL_SIZE });
    return {
      module: DrizzleStackModule,
      providers: [{ provide: Stack, useValue: new DrizzleStack(drizzle({ client: pool })) }],
      exports: [Stack],
    };
  }
}
