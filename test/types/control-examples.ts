// The code of docs/control.md; tsc checks it here, and a spec checks that it is the same.
import { EntityManager } from '@mikro-orm/postgresql';
import { ForbiddenException, Injectable } from '@nestjs/common';
import { Atomic, DbContext, InjectSession, NewDbContext, WithDbContext } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';

export async function examples(
  dbContext: DbContext,
  session: EntityManager,
  mailer: { send(template: string): Promise<void> },
  metrics: { increment(name: string): void },
  increment: () => Promise<void>,
  orders: readonly number[],
  priceOf: (order: number) => Promise<number>,
): Promise<unknown> {
  await dbContext.atomic(async (own: EntityManager) => {
    own.persist(new Note('saved, whatever the request does afterwards'));
  });

  await dbContext.atomic(() => increment(), { current: 'append', onError: 'rollback-only' });

  const [notes, count] = await Promise.all([
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

  dbContext.beforeCommit(() => session.insert(Note, { text: 'inside the transaction' }));
  dbContext.onCommit(() => mailer.send('welcome'));
  dbContext.onRollback(() => metrics.increment('undone'));

  await dbContext.atomic(() => increment(), {
    isolationLevel: 'serializable',
    retry: { attempts: 5, backoffMs: 20 },
  });

  return [notes, count, prices];
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
