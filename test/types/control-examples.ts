// The code of docs/control.md; tsc checks it here, and a spec checks that it is the same.
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';

import { EntityManager } from '@mikro-orm/postgresql';
import { ForbiddenException, Injectable } from '@nestjs/common';
import { Atomic, DbContext, InjectSession, NewDbContext, WithDbContext } from 'nestjs-db-context';

import { eq } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { pgTable, text } from 'drizzle-orm/pg-core';
import { Kysely, PostgresDialect } from 'kysely';
import type { PoolClient } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';

import { Note } from '../support/note.entity.js';

interface Tables {
  note: { text: string };
}

const notes = pgTable('note', { text: text('text') });

export async function examples(
  dbContext: DbContext,
  session: EntityManager,
  mailer: { send(template: string): Promise<void> },
  metrics: { increment(name: string): void },
  increment: () => Promise<void>,
  orders: readonly number[],
  priceOf: (order: number) => Promise<number>,
  path: string,
): Promise<unknown> {
  await dbContext.atomic(async (own: EntityManager) => {
    own.persist(new Note('saved, whatever the request does afterwards'));
  });

  await dbContext.atomic(() => increment(), { current: 'append', onError: 'rollback-only' });

  const [all, count] = await Promise.all([
    dbContext.runInNewContext(() => session.find(Note, {})),
    dbContext.runInNewContext(() => session.count(Note)),
  ]);

  const prices = await dbContext.runAllInNewContexts(
    orders.map((order) => () => priceOf(order)),
    { concurrency: 3 },
  );

  await dbContext.run(() => increment(), {
    commitOnError: (error) => error instanceof ForbiddenException,
  });

  dbContext.rollbackOnly();
  dbContext.rollbackOnly({ connection: 'audit' });

  await dbContext.newSession(async (own: EntityManager) => {
    await own.insert(Note, { text: 'committed by hand' });
    await own.commit();
  });
  await dbContext.newAtomicSession((own: EntityManager) => own.insert(Note, { text: 'committed' }));

  await dbContext.withClient((client: PoolClient) =>
    pipeline(createReadStream(path), client.query(copyFrom('copy note (text) from stdin'))),
  );

  const found = await dbContext.withClient((client: PoolClient) =>
    drizzle(client).select().from(notes).where(eq(notes.text, 'found')),
  );

  await dbContext.withClient(async (client: PoolClient) => {
    const own = { query: client.query.bind(client), release: () => undefined };
    const pool = { options: {}, connect: async () => own, end: async () => undefined };
    const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
    await db.insertInto('note').values({ text: 'by another Kysely' }).execute();
  });

  dbContext.beforeCommit(() => session.insert(Note, { text: 'inside the transaction' }));
  dbContext.onCommit(() => mailer.send('welcome'));
  dbContext.onRollback(() => metrics.increment('undone'));

  await dbContext.atomic(() => increment(), {
    isolationLevel: 'serializable',
    retry: { attempts: 5, backoffMs: 20 },
  });

  return [all, count, prices, found];
}

@Injectable()
export class NightlyJob {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @WithDbContext()
  async run(): Promise<void> {
    await this.tryOne();
    await this.log();
  }

  @Atomic({ current: 'savepoint' })
  async tryOne(): Promise<void> {
    await this.session.nativeDelete(Note, { text: '' });
  }

  @NewDbContext()
  async log(): Promise<void> {
    this.session.persist(new Note('done'));
  }
}
